"""How is a published store copied to a folder? Object by object, checked, under another name until it is whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import StoreError, not_empty
from storage.operations.progress import OnProgress, Progress, silent
from storage.remote.address import SCHEMES
from storage.remote.mirror import MANIFEST, Mirror

_UNFINISHED = ".pulling"  # ends the name of a folder that is not whole yet
_AT_ONCE = 64  # objects between two reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What was pulled.

    folder:     where the store is now
    objects:    how many objects it has
    pulled_now: how many of them this call fetched
    """

    folder: str
    objects: int
    pulled_now: int

    @property
    def complete(self) -> bool:
        """A store is pulled whole, or not at all."""
        return True

    def describe(self) -> str:
        """What was done, for a person."""
        return f"fetched {self.pulled_now:,} of {self.objects:,} objects to {self.folder}, each with its SHA-256"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"objects": self.objects, "pulled_now": self.pulled_now}


def pull(address: str, folder: str | os.PathLike[str], *, on_progress: OnProgress = silent) -> Pulled:
    """Copy a published store, of any backend, to a folder; continue where an earlier call ended.

    Until all its objects are there, they are in a folder beside it, whose name ends with `.pulling`. Every object is
    what the manifest says.

    Args:
        address: https://host/folder or hf://datasets/OWNER/NAME.
        folder: where the store is to be. Nothing, or the same store, may be there.
        on_progress: called at the beginning and now and then, with numbers of objects.

    Raises:
        StoreError: the address is of another kind, or something else is in the folder.
        NotAStoreError: no finalized store is at the address.
        DamageError: an object there is not what the manifest says; what was fetched stays.
        UnreadableError: the server does not answer, or a file cannot be written; what was fetched stays.

    Examples:
        >>> pull("labels.zarr", "copy.zarr")
        Traceback (most recent call last):
        ...
        storage.errors.StoreError: cannot pull labels.zarr: give hf://datasets/OWNER/NAME or https://host/folder; ...
    """
    if not address.startswith(SCHEMES):
        raise StoreError(
            f"cannot pull {address}: give hf://datasets/OWNER/NAME or https://host/folder; `annotate convert` copies "
            "other stores"
        )
    target = Path(folder)
    partial = target.with_name(f"{target.name}{_UNFINISHED}")
    mirror = Mirror(address, into=partial)
    names = mirror.names()  # the manifest's among them
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        if (target / MANIFEST).is_file() and (target / MANIFEST).read_bytes() == mirror.manifest:
            on_progress(Progress(len(names), len(names), 0))
            return Pulled(folder=str(target), objects=len(names), pulled_now=0)
        raise not_empty(str(target))
    missing = mirror.missing()
    done = len(names) - 1 - len(missing)
    on_progress(Progress(done, len(names), 0))
    for start in range(0, len(missing), _AT_ONCE):
        some = missing[start : start + _AT_ONCE]
        mirror.fetch_all(some)
        if lost := [name for name in some if not (partial / name).is_file()]:
            raise StoreError(f"cannot pull {address}: {lost[0]} is listed in its {MANIFEST}, but missing there")
        done += len(some)
        on_progress(Progress(done, len(names), 0))
    mirror.keep_manifest()
    on_progress(Progress(len(names), len(names), 0))
    if target.is_dir():
        target.rmdir()  # it is empty
    partial.rename(target)
    return Pulled(folder=str(target), objects=len(names), pulled_now=len(missing) + 1)
