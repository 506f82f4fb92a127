"""What if the whole collection becomes unavailable? Then no picture counts as missing: the reader waits for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotate.errors import PictureError, SourceGoneError
from annotate.images.source import Picture, PictureReader
from storage import Status

PATIENCE = 300.0  # seconds
_POLL = 0.5


@dataclass(frozen=True, slots=True)
class WaitingReader:
    """Reads with another reader, but waits while the collection itself is unavailable, for example a mount or a disk.

    reader:   the reader that reads
    patience: seconds to wait before it gives up
    """

    reader: PictureReader
    patience: float = PATIENCE

    @property
    def root(self) -> Path:
        """Where the collection is."""
        return self.reader.root

    def read(self, handle: Any, /) -> Picture:
        """One picture.

        Raises:
            PictureError: this picture cannot be read, although the collection is available.
            SourceGoneError: the collection was unavailable for `patience` seconds.
        """
        deadline: float | None = None
        again = False
        while True:
            try:
                return self.reader.read(handle)
            except PictureError as error:
                if error.status not in (Status.MISSING, Status.UNREADABLE):
                    raise
                if _is_there(self.root):
                    if again:  # the collection was available before and after the second try
                        raise
                    again = True
                    continue
            again = False
            deadline = deadline or time.monotonic() + self.patience
            if time.monotonic() > deadline:
                raise SourceGoneError(
                    f"the pictures at {self.root.name} have been unavailable for {self.patience:.0f} seconds; "
                    "nothing is lost: when they are available again, run the same command to continue"
                )
            time.sleep(_POLL)


def _is_there(root: Path) -> bool:
    """Whether the collection is available. An empty folder is a mount point without its mount."""
    try:
        return any(root.iterdir()) if root.is_dir() else root.exists()
    except OSError:
        return False
