"""Do a loader's workers see the same traced pictures, forked, sent or timm's?"""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from timm.data import create_loader
from torch.utils.data import DataLoader, Dataset

from tests.tokenlabel.pipelines.traced_pictures import (
    CELLS,
    SOURCES,
    TALL,
    centres,
    seeded,
    seen,
    trained,
)
from tokenlabel import Traced

pytestmark = pytest.mark.usefixtures("single_threaded")


class Pictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Training pictures with a dense target: the point in the source of each of 8x6 tokens."""

    def __init__(self, transform: Any) -> None:
        self.traced = Traced(transform)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, warp = seeded(index, self.traced, SOURCES[index % 3])
        return pixels, torch.from_numpy(warp.trace_back(centres(8, 6))[0]).float()


def test_the_loaders_workers_see_the_same() -> None:
    data = Pictures(trained(auto_augment="rand-m6-inc1", re_prob=0.5))
    alone = list(DataLoader(data, batch_size=5))
    forked = list(DataLoader(data, batch_size=5, num_workers=2, multiprocessing_context="fork"))
    for batch, other in zip(alone, forked, strict=True):
        assert torch.equal(batch[0], other[0])
        assert torch.equal(batch[1], other[1])


def test_it_can_be_sent_to_a_worker_that_is_not_a_fork() -> None:
    traced = Traced(trained(auto_augment="original", re_prob=0.5, color_jitter=0.4))
    sent = pickle.loads(pickle.dumps(traced))
    (pixels, warp), (other, places) = (seeded(7, either, SOURCES[0]) for either in (traced, sent))
    assert torch.equal(pixels, other)
    assert (seen(warp, TALL)[0] == seen(places, TALL)[0]).all()


@pytest.mark.parametrize("prefetched", [False, True])
def test_timms_loader_carries_pixels_and_dense_targets_to_the_model(prefetched: bool) -> None:
    data = Pictures(trained(use_prefetcher=prefetched))
    loader = create_loader(
        data, (3, *TALL), batch_size=6, mean=(0, 0, 0), std=(1, 1, 1), num_workers=0, re_prob=0,
        use_prefetcher=prefetched, device=torch.device("cpu"), persistent_workers=False,
    )  # fmt: skip
    batches = list(loader)
    assert len(batches) == 2
    for pixels, places in batches:
        shown = torch.nn.functional.avg_pool2d(pixels, 8)[:, :2].permute(0, 2, 3, 1).flatten(1, 2)
        assert CELLS * (shown - places).abs().mean() < 0.05
