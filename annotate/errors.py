"""What can go wrong before a picture is labelled? One class to catch, whose message says what to do."""

from __future__ import annotations

from storage import Status


class AnnotateError(Exception):
    """The job cannot be done as asked; the message says what was found, what was expected and what to do."""


class PictureError(Exception):
    """One picture cannot be labelled. Never the job's end: it becomes a row with a status and a reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[type[PictureError], tuple[Status, str]]:
        """Both arguments travel between processes."""
        return type(self), (self.status, self.reason)


class SourceGoneError(AnnotateError):
    """The collection of pictures is gone as a whole. No picture is to blame, and no other shard would fare better."""
