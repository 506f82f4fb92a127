"""What if all pictures are gone at once? Then none of them is missing: the reader waits until they are back."""

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
class PatientReader:
    """Reads as another reader does; but while the collection itself is away, a mount or a disk, it waits for it.

    reader:   the other
    patience: seconds after which it waits no longer
    """

    reader: PictureReader
    patience: float = PATIENCE

    @property
    def root(self) -> Path:
        """Where the collection lies."""
        return self.reader.root

    def read(self, handle: Any, /) -> Picture:
        """One picture.

        Raises:
            PictureError: this one picture cannot be had, though the collection is there.
            SourceGoneError: the collection is gone, and did not come back.
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
                    if again:  # it was there before the second try, and is after it
                        raise
                    again = True
                    continue
            again = False
            deadline = deadline or time.monotonic() + self.patience
            if time.monotonic() > deadline:
                raise SourceGoneError(
                    f"the pictures at {self.root.name} have been gone for {self.patience:.0f} seconds; nothing is "
                    "lost: when they are back, the same command goes on"
                )
            time.sleep(_POLL)


def _is_there(root: Path) -> bool:
    """Whether anything is at the place of a collection. A folder without an entry is a mount that has gone."""
    try:
        return any(root.iterdir()) if root.is_dir() else root.exists()
    except OSError:
        return False
