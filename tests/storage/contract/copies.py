"""Is a copy of a store the same store?"""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import (
    LabelStore,
    StoreError,
    copy,
    open_store,
)
from tests.storage.contract.contents import everything
from tests.storage.contract.fixtures import StoreFixtures
from tests.storage.contract.samples import SHARDS


class Copies(StoreFixtures):
    """A store is copied to each backend."""

    def test_a_copy_into_itself_is_refused(self, full: LabelStore, address: str) -> None:
        for inside in (address, f"{address}/labels.zarr"):
            with pytest.raises(StoreError, match="the target is inside the source"):
                copy(full, inside)

    def test_a_copy_is_equal_in_every_bit(self, full: LabelStore, tmp_path: Path) -> None:
        for name in ("copy.zarr", "copy.h5"):
            assert copy(full, str(tmp_path / name)).complete
            copied = open_store(tmp_path / name)
            assert copied.schema == full.schema
            assert copied.keys == full.keys
            for mine, theirs in zip(everything(full), everything(copied), strict=True):
                assert (mine == theirs).all()
            places = [(shard, place) for shard, rows in enumerate(SHARDS) for place in range(len(rows))]
            for mine, theirs in zip(full.backend.fetch(places), copied.backend.fetch(places), strict=True):
                assert mine.tobytes() == theirs.tobytes()
            assert [record.run for _, record in copied.records() if record] == [{}] * 3
