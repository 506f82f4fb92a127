"""Where may a store be copied to? That a copy is equal in every bit is a part of each backend's contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage import LabelStore, MismatchError, Progress, copy, create_store
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


def test_a_copy_onto_other_labels_or_targets_is_refused(full: LabelStore, tmp_path: Path) -> None:
    other = create_store(tmp_path / "targets.h5", SCHEMA, KEYS, [0] * 10)
    with pytest.raises(MismatchError, match="targets: the store has other classes of the dataset than the source"):
        copy(full, other.address)
    other = create_store(tmp_path / "others.h5", SCHEMA, KEYS, list(range(10)))
    other.write(SHARDS[1], random_labels(np.random.default_rng(9), 4))
    with pytest.raises(MismatchError, match="labels: rows 4 to 8 of the store differ from those of the source"):
        copy(full, other.address)


def test_a_copy_tells_how_far_it_is_and_goes_on_where_an_earlier_one_ended(full: LabelStore, tmp_path: Path) -> None:
    told: list[Progress] = []
    address = str(tmp_path / "copy.zarr")
    assert copy(full, address, on_progress=told.append).copied_now == 10
    assert [each.done for each in told] == [0, 4, 8, 10]
    assert copy(full, address).copied_now == 0
