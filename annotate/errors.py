"""Which errors does annotate raise? One class to catch; its message says what to do."""

from __future__ import annotations

from storage import Status


class AnnotateError(Exception):
    """The job cannot be done as asked. The message says what was found, what was expected and what to do."""


class PictureError(Exception):
    """One picture cannot be labelled. This never ends the job: the picture's row gets this status and reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[type[PictureError], tuple[Status, str]]:
        """Keep both arguments when the error is pickled."""
        return type(self), (self.status, self.reason)


class SourceGoneError(AnnotateError):
    """The whole collection of pictures is gone: no single picture is the cause, and the other shards would fail too."""


class LostDeviceError(AnnotateError):
    """The GPU answers this process no more; only another process can use it again."""
