"""Are recall, mAP and mAP@R those of scikit-learn and of explicit loops, in chunks of any size?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors
from torch.nn.functional import normalize

from tokenlabel import LabelError
from tokenlabel.retrieval import retrieval_scores


def random(count: int, seed: int, classes: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    centres = torch.randn(classes, 8, generator=generator)
    return normalize(centres[labels] + 1.5 * torch.randn(count, 8, generator=generator), dim=1), labels


@pytest.mark.parametrize("at_once", [1, 500, 1 << 22])
def test_scores_are_those_of_scikit_learn(at_once: int) -> None:
    z, labels = random(80, 0)
    found = retrieval_scores(z, labels, ks=(1, 5), at_once=at_once)
    near = NearestNeighbors(n_neighbors=6).fit(z.numpy()).kneighbors(z.numpy(), return_distance=False)[:, 1:]
    hits = (labels.numpy()[near] == labels.numpy()[:, None]).cumsum(1) > 0
    assert found.recall == pytest.approx({1: hits[:, 0].mean(), 5: hits[:, 4].mean()})
    precisions, at_r = [], []
    for query in range(80):
        others = np.arange(80) != query
        relevant, similar = (labels == labels[query]).numpy()[others], (z @ z[query]).numpy()[others]
        precisions.append(average_precision_score(relevant, similar))
        ranked = relevant[np.argsort(-similar)][: relevant.sum()]
        at_r.append(sum(ranked[: i + 1].mean() for i in range(len(ranked)) if ranked[i]) / len(ranked))
    assert found.map == pytest.approx(np.mean(precisions), abs=1e-6)
    assert found.map_at_r == pytest.approx(np.mean(at_r), abs=1e-6)
    assert 0.2 < found.map_at_r < found.map < 0.9
    assert (found.queries, found.left_out) == (80, 0)


def test_a_gallery_of_other_pictures_is_searched_whole() -> None:
    (z, labels), (gallery, theirs) = random(20, 1), random(30, 2)
    found = retrieval_scores(z, labels, gallery=(gallery, theirs), ks=(1,), at_once=70)
    nearest = (z @ gallery.T).argmax(1)
    assert found.recall[1] == pytest.approx(float((theirs[nearest] == labels).float().mean()))
    precisions = [
        average_precision_score((theirs == label).numpy(), (gallery @ one).numpy())
        for one, label in zip(z, labels, strict=True)
    ]
    assert found.map == pytest.approx(np.mean(precisions), abs=1e-6)


def test_queries_without_a_positive_are_left_out_and_counted() -> None:
    z = normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    found = retrieval_scores(z, torch.tensor([0, 0, 1]), ks=(1,))
    assert (found.recall, found.map, found.queries, found.left_out) == ({1: 1.0}, 1.0, 2, 1)
    assert str(found) == "Recall@1 1.0000  mAP 1.0000  mAP@R 1.0000  queries 2"
    with pytest.raises(LabelError, match="none of 3 queries has another picture of its class to find; evaluate on"):
        retrieval_scores(z, torch.tensor([0, 1, 2]))


def test_of_equal_similarities_the_first_of_the_gallery_counts_first() -> None:
    z, gallery = torch.ones(1, 1), torch.ones(100, 1)
    for place in (0, 57, 99):
        classes = torch.zeros(100, dtype=torch.int64)
        classes[place] = 1
        found = retrieval_scores(z, torch.ones(1, dtype=torch.int64), gallery=(gallery, classes), ks=(1,))
        assert found.map == pytest.approx(1 / (place + 1))


def test_what_cannot_be_searched_is_refused() -> None:
    z, labels = random(4, 0, 2)
    with pytest.raises(LabelError, match=r"descriptors \[n, d\] need a class for each, \[n\], not \[4, 8\] and \[3\]"):
        retrieval_scores(z, labels[:3])
    with pytest.raises(LabelError, match=r"k of Recall@k is 1 or more, not \[0\]"):
        retrieval_scores(z, labels, ks=(0,))
    z[2, 3] = torch.nan
    with pytest.raises(LabelError, match="row 2 of descriptors is not finite"):
        retrieval_scores(z, labels)


MANY = """
import torch
from pathlib import Path
from torch.nn.functional import normalize
from tokenlabel.retrieval import retrieval_scores
gallery = normalize(torch.randn(100_000, 16), dim=1), torch.arange(100_000) % 1000
z, labels = gallery[0][:200], gallery[1][:200]
# Not ru_maxrss: Linux lets a program begin with that of the process that started it, which is larger.
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # kB
before = peak()
print(retrieval_scores(z, labels, gallery=gallery, ks=(1,)).recall[1])
print((peak() - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read as Linux shows it")
def test_many_pictures_fit_in_memory() -> None:
    """200 queries, five chunks of them, among 10^5: the matrix of 10^5 x 10^5 would take 40 GB."""
    output = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True).stdout.split()
    assert float(output[0]) == 1.0
    assert float(output[1]) < 600  # MB, of which libraries take some when they are first used
