"""What is left of a shard's labels if the writer that replaces them is killed, or if there is no room for new ones?"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from contextlib import suppress
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import LabelStore, Schema, StoreError, create_store, open_store, verify
from tests.labels import random_labels
from tests.storage.mounts.memory_disk import memory_disk

ROWS = range(4)
OLD, NEW = (random_labels(np.random.default_rng(seed), len(ROWS)) for seed in (0, 1))
SUFFIXES = pytest.mark.parametrize("suffix", ["zarr", "h5"])


def old_store(address: Path) -> LabelStore:
    """A store of one shard, which has the old labels."""
    schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=len(ROWS))
    store = create_store(address, schema, [f"{row}" for row in ROWS])
    store.write(ROWS, OLD)
    return store


def state_of(address: Path) -> str:
    """Whose labels a reader gets: "old" or "new"; "pending" if none."""
    store = open_store(address)
    if store.pending():
        return "pending"
    assert verify(store).state == "ok"
    sizes = store.read(ROWS).sizes
    return "old" if (sizes == OLD.sizes).all() else "new" if (sizes == NEW.sizes).all() else "a mixture"


def files_of(address: Path) -> dict[str, bytes]:
    return {str(path.relative_to(address)): path.read_bytes() for path in address.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("suffix", "states"),
    [
        # Six files are written, the old record is removed, the files get their names, the record last.
        ("zarr", [*["old"] * 7, *["pending"] * 6, "new"]),
        ("h5", ["old", "old", "new"]),  # one file is written, and gets its name
    ],
)
def test_a_killed_writer_leaves_the_old_labels_unless_it_was_about_to_rename_files(
    tmp_path: Path, suffix: str, states: list[str]
) -> None:
    """In each of these stores a writer is killed before another one of its changes; in the last it is not."""
    stores = [tmp_path / f"{number}.{suffix}" for number in range(len(states))]
    old_store(stores[0])
    for store in stores[1:]:
        shutil.copytree(stores[0], store)
    process = get_context("spawn").Process(target=_die_before_each_change, args=(stores,))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == 0
    assert [state_of(store) for store in stores] == states
    for address in stores:
        store = open_store(address, writable=True)
        store.write(ROWS, NEW)
        store.backend.remove_leftovers()
        assert files_of(address).keys() == files_of(stores[-1]).keys()
        assert state_of(address) == "new"


@SUFFIXES
def test_a_quota_that_is_used_up_takes_no_label_and_leaves_no_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is free space, but this user may not have it: the first, the second, or another file is refused."""
    store = old_store(tmp_path / f"s.{suffix}")
    before, original = files_of(tmp_path), Path.open
    for allowed in range(6 if suffix == "zarr" else 1):
        numbers = count()

        def limited(path: Path, mode: str = "r", *args: Any, numbers: Any = numbers, allowed: int = allowed) -> Any:
            file = original(path, mode, *args)
            if "x" in mode and next(numbers) >= allowed:
                file.close()
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
            return file

        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", limited)
            with pytest.raises(StoreError, match="cannot write rows 0 to 4 .*: .*quota exceeded.* Nothing is lost"):
                store.write(ROWS, NEW)
        assert files_of(tmp_path) == before
    store.write(ROWS, NEW)
    assert state_of(tmp_path / f"s.{suffix}") == "new"


@SUFFIXES
def test_a_disk_that_fills_while_labels_are_replaced_takes_none_and_leaves_no_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program takes all space when the writer has begun."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with memory_disk(disk, "1m"):
        store = old_store(disk / f"s.{suffix}")
        before, original, numbers = files_of(disk), Path.open, count(1)

        def filling(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if "x" in mode and next(numbers) == (3 if suffix == "zarr" else 1):
                with suppress(OSError), original(disk / "large", "wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass
            return original(path, mode, *args, **kwargs)

        monkeypatch.setattr(Path, "open", filling)
        with pytest.raises(StoreError, match="cannot write rows 0 to 4 .*No space left on device.* Nothing is lost"):
            store.write(ROWS, NEW)
        (disk / "large").unlink()
        assert files_of(disk) == before
        store.write(ROWS, NEW)
        assert state_of(disk / f"s.{suffix}") == "new"


def test_a_shard_that_is_pending_after_an_error_is_not_called_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are on the disk, but the system refuses to rename one of them."""
    store, original = old_store(tmp_path / "s.zarr"), os.replace

    def refuse(source: Path, target: Path) -> None:
        if "scores" in str(target):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(StoreError, match="Input/output error. These rows may be pending now, even if they had lab"):
            store.write(ROWS, NEW)
    assert state_of(tmp_path / "s.zarr") == "pending"
    assert not [name for name in files_of(tmp_path) if name.endswith(".partial")]
    store.write(ROWS, NEW)
    assert state_of(tmp_path / "s.zarr") == "new"


def _die_before_each_change(stores: list[Path]) -> None:
    """Replace the shard of each store: in a process that dies before its first change of the folder, its second, …"""
    for number, address in enumerate(stores):
        store = open_store(address, writable=True)
        if (child := os.fork()) == 0:
            sys.addaudithook(_Killer(address, number))
            store.write(ROWS, NEW)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        last = number + 1 == len(stores)
        assert os.waitstatus_to_exitcode(status) == (0 if last else -signal.SIGKILL), number


class _Killer:
    """An audit hook that kills its process before it changes a folder for the n-th time, from 0."""

    def __init__(self, folder: Path, nth: int) -> None:
        self.folder, self.left = f"{folder}/", nth

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.remove", "os.rename") or not str(args[0]).startswith(self.folder):
            return
        partial = str(args[0]).endswith(".partial")
        # Files of other kinds are only read; what has been renamed is removed in vain.
        if (event == "open" and not partial) or (event == "os.remove" and partial):
            return
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
