"""How is an HDF5 file opened for reading? Without locks, also while others have it open; a store's with checksums."""

from __future__ import annotations

import errno
import shlex
from pathlib import Path

import h5py

_WITH_CHECKSUMS = 3  # the superblock of HDF5 1.10; what is added to a file of an older one has no checksums either


def open_file(path: Path) -> h5py.File:
    """A file of a store, opened as `open_any` does, and refused without checksums of its metadata.

    Raises:
        BlockingIOError, OSError: as `open_any`.
        ValueError: it is of a version of the file format in which HDF5 keeps no checksums of its own metadata.
    """
    file = open_any(path)
    version = file.id.get_create_plist().get_version()[0]
    if version < _WITH_CHECKSUMS:
        file.close()
        raise ValueError(
            f"it is an HDF5 file without checksums of its metadata: its superblock is of version {version}, and must "
            f"be of {_WITH_CHECKSUMS} or later; it was written by another program than tokenlabel"
        )
    return file


def open_any(path: Path, *, cache_bytes: int = 0) -> h5py.File:
    """An HDF5 file, open for reading. It takes no lock: many file systems of clusters do not support locks.

    Args:
        path: path of the file.
        cache_bytes: how many bytes of decoded chunks are kept for each array; default: none, because most chunks are
            read once.

    Raises:
        BlockingIOError: another program writes to it, or was killed when it did.
        OSError: it is missing, or not an HDF5 file.
    """
    try:
        return h5py.File(path, "r", locking=False, rdcc_nbytes=cache_bytes)
    except OSError as error:
        if "already open for" in str(error):  # HDF5's flag in the file, which a killed writer leaves behind
            words = (
                "another program has it open for writing, or was killed while it had: wait until it is closed; if no "
                f"program has it open, `h5clear -s {shlex.quote(str(path))}` makes it readable again"
            )
            raise BlockingIOError(errno.EAGAIN, words) from error
        if "locking flag" not in str(error):
            raise
        # Other code in this process has it open with h5py's default locking, which HDF5 then requires here too.
        return h5py.File(path, "r", rdcc_nbytes=cache_bytes)
