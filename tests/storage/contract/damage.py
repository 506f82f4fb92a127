"""Is damage found, and never read as a label?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from storage import (
    DamageError,
    FormatError,
    LabelMap,
    LabelStore,
    NotAStoreError,
    Publication,
    StoreError,
    finalize,
    open_store,
    repair,
    verify,
)
from tests.storage.contract.contents import everything, one_of_each_kind
from tests.storage.contract.fixtures import StoreFixtures
from tests.storage.contract.samples import SHARDS


class Damage(StoreFixtures):
    """Bytes are flipped, cut off and removed."""

    def test_damage_is_found_and_never_served(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        for name in ("classes", "scores", "boxes", "status"):
            for shard, rows in enumerate(SHARDS):
                good = full.read(rows)
                damage(f"{name}/{shard}", 3)
                states = [report.state for report in verify(open_store(address)).shards]
                assert states[shard] == "damaged", (name, shard)
                try:
                    served = open_store(address).read(rows)
                except StoreError:
                    pass
                else:  # the byte was of a row's neighbour, or of nothing
                    assert (served.classes == good.classes).all()
                damage(f"{name}/{shard}", 3)
        assert [report.state for report in verify(open_store(address)).shards] == ["ok"] * 3

    def test_no_byte_of_a_shard_can_change_a_label(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        """Bytes of chunks, of their checksums and of the index, some hundreds of them, each flipped alone."""
        good = full.read(SHARDS[0])
        for place in range(0, 600, self.flip_every):
            damage("classes/0", place)
            try:
                served = open_store(address).read(SHARDS[0])
            except DamageError:
                pass
            else:
                assert (served.classes == good.classes).all(), place
            for row in SHARDS[0]:
                with suppress(DamageError):
                    assert (open_store(address)[row].classes == good.classes[row]).all(), place
            damage("classes/0", place)

    def test_every_object_cut_short_or_gone_is_found_and_never_served(self, full: LabelStore, address: str) -> None:
        finalize(full, Publication(name="tests", source="the tests", licence="CC0-1.0"))
        good = everything(full)
        for name in self.worth_damaging(full):
            whole = full.backend.read_object(name)
            assert whole is not None
            for data in (whole[: len(whole) // 2], b""):
                full.backend.write_object(name, data)
                assert _is_found_or_harmless(address, good) == "found", (name, len(data))
            full.backend.delete_object(name)
            if name not in self.may_be_gone:
                assert _is_found_or_harmless(address, good) == "found", name
            full.backend.write_object(name, whole)
        assert verify(open_store(address), deep=True).state == "ok"

    def test_every_kind_of_byte_flipped_is_found_or_harmless(self, full: LabelStore, address: str) -> None:
        finalize(full, Publication(name="tests", source="the tests", licence="CC0-1.0"))
        good = everything(full)
        for name in self.worth_flipping(full):
            whole = full.backend.read_object(name)
            assert whole is not None
            step = max(1, len(whole) // self.flips_each)
            for place in range(0, len(whole), step):
                flipped = bytearray(whole)
                flipped[place] ^= 1 << place % 8
                full.backend.write_object(name, bytes(flipped))
                assert _is_found_or_harmless(address, good), (name, place)
            full.backend.write_object(name, whole)
        assert verify(open_store(address), deep=True).state == "ok"

    def test_repair_makes_damaged_shards_pending_and_repairs_all_else(
        self, full: LabelStore, labels: LabelMap, address: str, damage: Callable[[str, int], None]
    ) -> None:
        before = {name: full.backend.read_object(name) for name in full.backend.object_names() if "record" not in name}
        damage("scores/1", 40)
        writable = open_store(address, writable=True)
        assert repair(writable, verify(writable)) == []
        assert open_store(address).pending() == [SHARDS[1]]
        writable.write(SHARDS[1], labels[4:8])
        assert verify(open_store(address), deep=True).state == "ok"
        assert len(before) == len([name for name in writable.backend.object_names() if "record" not in name])

    def worth_damaging(self, store: LabelStore) -> list[str]:
        """All objects, where reading is quick."""
        return list(store.backend.object_names())

    def worth_flipping(self, store: LabelStore) -> list[str]:
        """One object of each kind."""
        return one_of_each_kind(store)


def _is_found_or_harmless(address: str, good: list[np.ndarray]) -> str:
    """Return "found" if verify reports the damage, "harmless" if everything is read as before, or fail."""
    try:
        found = verify(open_store(address), deep=True).state == "damaged"
    except (DamageError, FormatError, NotAStoreError):
        return "found"
    try:
        read = everything(open_store(address))
    except StoreError:
        assert found
        return "found"
    served = all((mine == theirs).all() for mine, theirs in zip(good, read, strict=True))
    assert served, "what is damaged was served as a label"
    return "found" if found else "harmless"
