"""Is exactly what a traced pipeline erases a hole in its warp?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torchvision import transforms as v1

from tests.tokenlabel.pipelines.traced_pictures import (
    SIZES,
    SOURCES,
    TALL,
    seeded,
    seen,
    then_tensor,
    trained,
)
from tokenlabel import LabelError, Traced

pytestmark = pytest.mark.usefixtures("single_threaded")


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_what_timm_erases_is_a_hole(mode: str, count: int) -> None:
    whole = trained(re_prob=0.8, re_mode=mode, re_count=count)
    assert isinstance(whole.transforms[-1], RandomErasing)
    before = v1.Compose(whole.transforms[:-1])
    erased = 0
    for seed in range(40):
        source = SOURCES[seed % 3]
        pixels, warp = seeded(seed, Traced(whole), source)
        changed = (pixels != seeded(seed, before, source)).any(0).numpy()  # blue is 1 everywhere before
        assert (seen(warp, TALL)[1] == ~changed).all()
        erased += changed.any()
    assert 20 < erased < 40


@pytest.mark.parametrize("value", [0, (0.1, 0.2, 0.3), "random"])
def test_what_torchvision_erases_is_a_hole(value: Any) -> None:
    erasing = v1.RandomErasing(0.8, value=value)
    for seed in range(15):
        pixels, warp = seeded(seed, Traced(then_tensor()), SOURCES[0])
        assert warp.stages == ()
        shown, warp = seeded(seed, Traced([v1.ToTensor(), erasing]), SOURCES[0])
        assert torch.equal(shown, seeded(seed, v1.Compose([v1.ToTensor(), erasing]), SOURCES[0]))
        assert (seen(warp, SIZES[0])[1] == (shown == pixels).all(0).numpy()).all()


def test_erasing_that_finds_no_room_makes_no_hole() -> None:
    full = v1.RandomErasing(1, scale=(1, 1), ratio=(1, 1))
    assert Traced([v1.ToTensor(), full])(SOURCES[0])[1].stages == ()


def test_erasing_less_than_a_pixel_makes_no_hole() -> None:
    specks = RandomErasing(1, max_area=0.03, min_count=9, mode="rand", device="cpu")
    for seed in range(20):
        pixels, warp = seeded(seed, Traced([v1.ToTensor(), specks]), Image.new("RGB", (9, 8)))
        assert (seen(warp, (8, 9))[1] == ~pixels.any(0).numpy()).all()


def test_erasing_before_there_is_a_tensor_is_an_error() -> None:
    with pytest.raises(LabelError, match="was given a picture of 96x128 pixels, but it erases tensors: put it after"):
        Traced(then_tensor(RandomErasing(1, device="cpu")))(SOURCES[0])
