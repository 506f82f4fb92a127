"""Who belongs together: by class, by the most probable class of a label, or by the overlap of labels?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder

from storage import open_store
from tests.conftest import dense
from tokenlabel import LabelError, folder_keys
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


def test_machine_identities_are_what_a_store_says_of_whole_pictures(finished: Path, scene_folder: Path) -> None:
    store = open_store(str(finished))
    keys = folder_keys(ImageFolder(scene_folder / "images/val"))[:20][::-1]
    found = machine_identities(store, keys, by="distribution")
    expected = np.stack([dense(store[store.find(key)], store.schema.class_count).mean((1, 2)) for key in keys])
    assert found.shape == (20, store.schema.class_count)
    assert np.abs(found.numpy() - expected).max() < 0.05  # of 8 classes; the others share what is left
    assert torch.equal(machine_identities(store, keys), found.argmax(1))
    assert len(machine_identities(store, keys).unique()) > 1


def test_a_picture_without_a_label_is_named(finished: Path) -> None:
    with pytest.raises(Exception, match="no row for the key 'nowhere.jpg'"):
        machine_identities(open_store(str(finished)), ["nowhere.jpg"])
