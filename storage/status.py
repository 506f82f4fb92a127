"""Is a picture labelled, or why not? Each row has one status; its numbers are the same in every store."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """The status of a row. The numbers are part of the format; `PENDING` is the fill value of an unwritten row."""

    LABELLED = 0
    MISSING = 1  # the collection lists the picture, but its file does not exist
    UNREADABLE = 2  # its bytes could not be read: permissions, input/output errors
    UNDECODABLE = 3  # its bytes are not a whole picture: empty, truncated, of another type
    REFUSED = 4  # a picture that cannot be used: a decompression bomb, or one for which a network answers NaN
    PENDING = 255

    @property
    def word(self) -> str:
        """The status as people and JSON read it, for example "labelled"."""
        return self.name.lower()
