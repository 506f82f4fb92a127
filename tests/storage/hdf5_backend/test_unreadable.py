"""Is an HDF5 file that cannot be read now, but may be sound, told from one that is damaged?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from h5py import h5d, h5s, h5t

from storage import DamageError, LabelStore, UnreadableError, open_store, repair, verify
from storage.hdf5_backend import sound
from tests.storage.hdf5_backend.fixtures import Hdf5Fixtures
from tests.storage.hostile.folders import contents

_EIO = (
    "Unable to synchronously open object (file read failed: time = Sun Nov 29 00:00:00 2026\n, filename = 'a (b).h5', "
    "file descriptor = 3, errno = 5, error message = 'Input/output error', buf = 0x1, total read size = 8, offset = 0)"
)
_ERRORS = (KeyError, RuntimeError, ValueError, OSError)  # the types in which h5py has been seen to raise it


class TestUnreadable(Hdf5Fixtures):
    @pytest.mark.parametrize("kind", _ERRORS)
    @pytest.mark.parametrize("call", ["open", "check"])
    def test_a_read_error_of_the_system_leaves_a_shard_where_it_is(
        self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch, kind: type[Exception], call: str
    ) -> None:
        def fail(*_: object) -> None:
            raise kind(_EIO)

        before = contents(Path(address))
        store = open_store(address, writable=True)
        monkeypatch.setattr(*((h5d, "open") if call == "open" else (sound, "check_chunks")), fail)
        found = verify(store)
        assert {report.state for report in found.shards} == {"unreadable"}
        with pytest.raises(UnreadableError, match="errno = 5"):
            open_store(address).read([5])
        with pytest.raises(UnreadableError, match="nothing was repaired"):
            repair(store, found)
        assert contents(Path(address)) == before

    @pytest.mark.parametrize("kind", _ERRORS)
    def test_a_read_error_of_the_system_is_no_damage_of_header_record_or_keys(
        self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
    ) -> None:
        def fail(*_: object) -> None:
            raise kind(_EIO)

        store = open_store(address)
        monkeypatch.setattr(sound, "own", fail)
        for name in ("keys", "targets", "key_index"):
            with pytest.raises(UnreadableError, match="errno = 5"):
                len(getattr(store.backend, f"load_{name}")())
        monkeypatch.setattr(sound, "text", fail)
        with pytest.raises(UnreadableError, match="errno = 5"):
            store.record(0)
        with pytest.raises(UnreadableError, match="errno = 5"):
            open_store(address)

    @pytest.mark.parametrize("name", ["store.h5", "shards/000001.h5"])
    def test_a_file_that_a_killed_program_had_open_for_writing_is_no_damage(
        self, full: LabelStore, address: str, name: str
    ) -> None:
        store, path = open_store(address, writable=True), Path(address, name)
        killed = "import h5py, os, sys; file = h5py.File(sys.argv[1], 'r+'); os._exit(0)"
        subprocess.run([sys.executable, "-c", killed, path], check=True)
        before = contents(Path(address))
        found = verify(store)
        assert found.state == "unreadable"
        assert f"`h5clear -s {path}`" in found.describe()
        with pytest.raises(UnreadableError, match="nothing was repaired"):
            repair(store, found)
        assert contents(Path(address)) == before
        with pytest.raises(UnreadableError, match="has it open for writing.*h5clear -s"):
            open_store(address).read([5])

    @pytest.mark.parametrize("name", ["status", "classes", "keys", "targets", "record", "tokenlabel"])
    @pytest.mark.parametrize("made", ["time", "opaque"])
    def test_a_type_that_numpy_does_not_have_is_damage(
        self, full: LabelStore, address: str, name: str, made: str
    ) -> None:
        of_shard = name in ("status", "classes", "record")
        with h5py.File(Path(address, "shards/000001.h5" if of_shard else "store.h5"), "r+") as file:
            if name in ("record", "tokenlabel"):
                del file.attrs[name]
                h5py.h5a.create(file.id, name.encode(), _TYPES[made](), h5s.create(h5s.SCALAR))
            else:
                del file[name]
                h5d.create(file.id, name.encode(), _TYPES[made](), h5s.create_simple((4,)))
        if of_shard:
            assert verify(open_store(address)).shards[1].state == "damaged"
        with pytest.raises(DamageError):
            _used(address, name)

    @pytest.mark.parametrize("words", ["errno = 5", f"/{_EIO.replace('/', ' ')}", f"({_EIO.partition('(')[2]}"])
    @pytest.mark.parametrize("kind", [h5py.ExternalLink, h5py.SoftLink])
    def test_words_of_a_store_are_not_taken_for_those_of_the_system(
        self, full: LabelStore, address: str, words: str, kind: type
    ) -> None:
        with h5py.File(Path(address, "store.h5"), "r+") as file:
            del file["keys"]
            file["keys"] = kind(words) if kind is h5py.SoftLink else kind(words, "/keys")
        with h5py.File(Path(address, "shards/000001.h5"), "r+") as file:
            del file["boxes"]
            file["boxes"] = kind(words) if kind is h5py.SoftLink else kind(words, "/boxes")
        store = open_store(address, writable=True)
        with pytest.raises(DamageError):
            len(store.keys)
        found = verify(store)
        assert (found.unreadable, found.shards[1].state) == ((), "damaged")
        repair(store, found)
        assert store.pending() == [range(4, 8)]


def _used(address: str, name: str) -> None:
    store = open_store(address)
    if name in ("keys", "targets"):
        getattr(store.backend, f"load_{name}")()
    else:
        store.read([5])


def _opaque() -> h5t.TypeID:
    kind = h5t.create(h5t.OPAQUE, 1)
    kind.set_tag(b"NUMPY:garbage[")
    return kind


_TYPES: dict[str, Callable[[], h5t.TypeID]] = {"time": lambda: h5t.UNIX_D32LE, "opaque": _opaque}
