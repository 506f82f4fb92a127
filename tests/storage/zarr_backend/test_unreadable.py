"""Does what fails for another reason than the bytes of a Zarr store pass for damage, or cost a file?"""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import LabelStore, UnreadableError, open_store, repair, verify
from storage.zarr_backend.contained_store import Contained
from tests.storage.contract.fixtures import StoreFixtures


class TestUnreadable(StoreFixtures):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "labels.zarr")

    @pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError()])
    def test_a_machine_without_threads_or_memory_is_no_damage(
        self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        async def fail(*_: object, **__: object) -> None:
            raise error

        store = open_store(address, writable=True)
        monkeypatch.setattr(Contained, "get", fail)
        found = verify(store)
        assert (found.state, found.shared) == ("unreadable", ())
        assert str(error) in found.describe()
        for name in ("keys", "targets"):
            with pytest.raises(UnreadableError, match=f"cannot read {name} of"):
                getattr(store.backend, f"load_{name}")()

    @pytest.mark.parametrize("name", ["key_index/slots/c/notes.txt", "key_index/digests/c/01"])
    def test_the_repair_of_the_key_index_removes_no_file_but_chunks(
        self, full: LabelStore, address: str, name: str
    ) -> None:
        Path(address, name).write_text("mine")
        chunk, more = Path(address, "key_index/slots/c/0"), Path(address, "key_index/slots/c/1")
        chunk.write_bytes(chunk.read_bytes()[:-1])
        more.write_bytes(b"more")
        store = open_store(address, writable=True)
        repair(store, verify(store))
        assert Path(address, name).read_text() == "mine"
        assert not more.exists()
        assert verify(open_store(address)).shared == ()
