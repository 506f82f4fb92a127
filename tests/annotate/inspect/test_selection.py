"""Which pictures are chosen?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from annotate.errors import AnnotateError
from annotate.inspect import (
    areas,
    choose_rows,
    survey,
)
from storage import LabelMap, LabelStore, Status
from tests.annotate.inspect.stores import COUNT, a_store


def test_pictures_are_chosen_by_key_class_order_or_at_random(store: LabelStore) -> None:
    found = survey(store)
    assert choose_rows(store, 9, keys=["7.jpg", "2.jpg"]) == [7, 2]
    assert choose_rows(store, 4, order="entropy") == np.argsort(-found.entropy, kind="stable")[:4].tolist()
    assert choose_rows(store, 4, order="confidence") == np.argsort(-found.confidence, kind="stable")[:4].tolist()
    assert choose_rows(store, 4, order="disagreement") == np.argsort(-found.doubt, kind="stable")[:4].tolist()
    assert choose_rows(store, 4, seed=1) == choose_rows(store, 4, seed=1) != choose_rows(store, 4, seed=2)
    number = int(found.best[3])
    area = areas(store, number)
    assert choose_rows(store, 99, number=number) == [
        n for n in np.argsort(-area, kind="stable").tolist() if area[n] > 0
    ]


def test_a_picture_without_a_label_cannot_be_asked_for(labels: LabelMap, tmp_path: Path) -> None:
    broken = LabelMap.unlabelled(Status.MISSING, grid=labels.grid, k=labels.k, class_count=COUNT)
    store = a_store(tmp_path / "labels.zarr", LabelMap.stack([broken, labels[1]]))
    with pytest.raises(AnnotateError, match=r"cannot show '0.jpg': it has no label, its status is missing"):
        choose_rows(store, 1, keys=["0.jpg"])
    assert choose_rows(store, 9) == [1]
