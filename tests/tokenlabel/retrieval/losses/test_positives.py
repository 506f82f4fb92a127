"""Who belongs together: by class, by the most probable class of a label, or by the overlap of labels?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from storage import KeyNotFoundError, LabelStore, Schema, create_store
from tests.conftest import dense
from tests.labels import random_labels
from tokenlabel import LabelError
from tokenlabel.retrieval import machine_identities, positive_pairs


def test_overlap_is_the_sum_of_the_roots_of_products() -> None:
    p = torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    q = p.flip(0)
    for threshold in (0.3, 0.6, 0.75, 1.0):
        expected = [
            [sum(math.sqrt(float(a) * float(b)) for a, b in zip(x, y, strict=True)) >= threshold - 1e-5 for y in q]
            for x in p
        ]
        assert positive_pairs(p, q, threshold=threshold).tolist() == expected
    assert positive_pairs(p, p, threshold=1.0).tolist() == torch.eye(3, dtype=torch.bool).tolist()


def test_identities_of_two_kinds_are_refused() -> None:
    with pytest.raises(LabelError, match=r"the same for both, not \[2\] and \[2, 3\]"):
        positive_pairs(torch.zeros(2), torch.zeros(2, 3))
    with pytest.raises(LabelError, match=r"the threshold of overlap must be in \(0, 1\], not 0"):
        positive_pairs(torch.ones(2, 3), torch.ones(2, 3), threshold=0)


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    schema = Schema(grid=(6, 5), k=10, class_count=10, rows_per_shard=4, recipe={"model": "resnet50"})
    made = create_store(str(tmp_path / "labels.zarr"), schema, [f"{n}.jpg" for n in range(10)])
    labels = random_labels(np.random.default_rng(0), 10, k=10, class_count=10)
    for rows in made.shards():
        made.write(rows, labels[rows.start : rows.stop])
    return made


def test_machine_identities_are_what_a_store_says_of_whole_pictures(store: LabelStore) -> None:
    keys = ["3.jpg", "0.jpg", "9.jpg", "5.jpg"]
    found = machine_identities(store, keys, by="distribution")
    assert found.shape == (4, 10)
    assert torch.allclose(found.sum(1), torch.ones(4), atol=1e-4)
    for one, key in zip(found.numpy(), keys, strict=True):
        expected = dense(store[store.find(key)], 10).mean((1, 2))
        named = np.argsort(-expected)[:8]  # the others share what is left
        assert np.abs(one[named] - expected[named]).max() < 1e-4
    assert torch.equal(machine_identities(store, keys), found.argmax(1))
    assert len(found.argmax(1).unique()) > 1


def test_many_labels_are_read_in_parts(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = machine_identities(store, store.keys)
    monkeypatch.setattr("tokenlabel.retrieval.losses.positives._AT_ONCE", 3)
    assert torch.equal(machine_identities(store, store.keys), whole)


def test_labels_that_name_no_class_for_the_whole_picture_are_refused(tmp_path: Path) -> None:
    """One covers a corner alone; of the other, no class has any probability."""
    for name in ("corner", "nothing"):
        schema = Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=2, recipe={"model": "resnet50"})
        made = create_store(str(tmp_path / f"{name}.zarr"), schema, ["whole.jpg", f"{name}.jpg"])
        labels = random_labels(np.random.default_rng(0), 2)
        if name == "corner":
            labels.boxes[1] = [0, 0, 0.3, 0.3]
        else:
            labels.scores[1] = 0
        made.write(range(2), labels)
        machine_identities(made, ["whole.jpg"])
        with pytest.raises(LabelError, match=rf"the label of {name}.jpg in .* names no class for the picture as a who"):
            machine_identities(made, made.keys)


def test_a_picture_without_a_label_is_named(store: LabelStore) -> None:
    with pytest.raises(KeyNotFoundError, match="no row for the key 'nowhere.jpg'"):
        machine_identities(store, ["nowhere.jpg"])
