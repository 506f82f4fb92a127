"""Do some pictures of a store become a store whose labels are equal to the bit?"""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import KeyNotFoundError, LabelStore, MismatchError, StoreError, open_store, select, verify
from tests.storage.contract.samples import KEYS

CHOSEN = [KEYS[row] for row in (9, 0, 5, 4, 1, 2)]


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_the_labels_of_some_keys_are_copied_in_their_order(full: LabelStore, tmp_path: Path, suffix: str) -> None:
    selected = select(full, CHOSEN, str(tmp_path / f"some.{suffix}"))
    assert (selected.pictures, selected.gathered_now, selected.pending) == (6, 6, 0)
    found = open_store(selected.address)
    assert list(found.keys) == CHOSEN
    assert found.targets.tolist() == [9, 0, 5, 4, 1, 2]
    assert verify(found, deep=True).state == "ok"
    mine, theirs = found.read(range(6)), full.read([9, 0, 5, 4, 1, 2])
    for name in ("classes", "scores", "boxes", "sizes", "status"):
        assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()
    assert found.schema.provenance["selected_from"] == {"keys_sha256": full.header.keys_sha256, "pictures": 10}
    assert select(full, CHOSEN, selected.address).gathered_now == 0


def test_keys_that_are_unknown_or_missing_are_refused(full: LabelStore, tmp_path: Path) -> None:
    address = str(tmp_path / "some.zarr")
    with pytest.raises(KeyNotFoundError, match="it has no row for 2 of the 3 keys, the first is 'no.jpg'"):
        select(full, [KEYS[0], "no.jpg", "nor.jpg"], address)
    with pytest.raises(StoreError, match="no key was given"):
        select(full, [], address)
    with pytest.raises(StoreError, match="has the key .* again"):
        select(full, [KEYS[0], KEYS[0]], address)
    assert not Path(address, "shards").exists()


def test_a_store_of_other_keys_is_not_continued(full: LabelStore, tmp_path: Path) -> None:
    address = str(tmp_path / "some.zarr")
    select(full, CHOSEN, address)
    with pytest.raises(MismatchError, match="keys: in row 0"):
        select(full, CHOSEN[::-1], address)
