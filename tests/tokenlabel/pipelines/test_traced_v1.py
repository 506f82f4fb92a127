"""Does the warp of a traced pipeline name the point that each pixel shows, and are the pixels those of the pipeline?"""

from __future__ import annotations

import copy
import io
import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data import auto_augment, create_transform
from timm.data import transforms as timm_transforms
from timm.data.naflex_transforms import RandomResizedCropToSequence
from torchvision import transforms as v1

from tests.tokenlabel.pipelines.traced_pictures import (
    MOVING,
    SOURCES,
    TALL,
    assert_true,
    augmented,
    colourless,
    errors,
    ops,
    plain,
    seeded,
    seen,
    then_tensor,
    trained,
)
from tokenlabel import Traced, View

pytestmark = pytest.mark.usefixtures("single_threaded")


PIPELINES: dict[str, v1.Compose] = {
    "rrc": trained(),
    "rrc, vflip": trained(vflip=0.5),
    "rrc, nearest": trained(interpolation="nearest"),
    "rkrc": trained(train_crop_mode="rkrc"),
    "rkrr": trained(train_crop_mode="rkrr"),
    "no augmentation": plain(is_training=True, no_aug=True),
    "center": plain(),
    "center, beyond the picture": plain(crop_pct=1.3),
    "center, square": plain(56),
    "squash": plain(crop_mode="squash", crop_pct=0.9),
    "border": plain(crop_mode="border", crop_pct=0.9),
    "trimmed": plain(crop_border_pixels=9),
    "separate": trained(separate=True),
    "RandAugment": augmented("rand-m9-mstd0.5-inc1"),
    "RandAugment, strong": augmented("rand-m15-n4-mmax15-p0.8"),
    "RandAugment, weights": augmented("rand-m9-n3-tweights"),
    "RandAugment, rkrr": augmented("rand-m9-mstd0.5-inc1", train_crop_mode="rkrr"),
    "original": augmented("original-mstd0.5"),
    "originalr": augmented("originalr"),
    "v0": augmented("v0"),
    "v0r": augmented("v0r"),
    "3a": augmented("3a"),
    "naflex": then_tensor(RandomResizedCropToSequence(8, 48)),
    "RandomPad": then_tensor(timm_transforms.RandomPad((150, 140)), v1.Resize(TALL)),
    "RandomResizedCrop": then_tensor(v1.RandomResizedCrop(TALL), v1.RandomVerticalFlip()),
    "RandomRotation": then_tensor(v1.RandomRotation(180, interpolation=v1.InterpolationMode.BILINEAR), v1.Resize(TALL)),
    "RandomRotation, expanded": then_tensor(v1.RandomRotation(90, expand=True), v1.Resize(TALL)),
    "RandomAffine": then_tensor(
        v1.RandomAffine(30, (0.2, 0.3), (0.6, 1.4), (-20, 20, -20, 20), center=[30, 20]), v1.Resize(TALL)
    ),
    "RandomPerspective": then_tensor(
        v1.RandomPerspective(p=0.9, interpolation=v1.InterpolationMode.BILINEAR), v1.Resize(TALL)
    ),
    "RandomCrop, padded": then_tensor(v1.RandomCrop(90, padding=(12, 20, 3, 7)), v1.RandomHorizontalFlip()),
    "RandomCrop, if needed": then_tensor(
        v1.RandomCrop((100, 110), pad_if_needed=True, fill=(9, 8, 7)), v1.Resize(TALL)
    ),
    "Pad, negative too": then_tensor(v1.Pad((-10, 5, 20, -7), fill=9), v1.Resize(TALL)),
    "CenterCrop": then_tensor(v1.CenterCrop((120, 80))),
    "elastic": then_tensor(v1.Resize(TALL), v1.ElasticTransform(80.0, 3.0)),
    "elastic, of tensors": v1.Compose([v1.Resize(TALL), v1.ToTensor(), v1.ElasticTransform([60.0, 30.0], [3.0, 2.5])]),
    "choices": then_tensor(
        v1.RandomOrder([v1.RandomHorizontalFlip(0.3), v1.RandomAffine(20), torch.nn.Sequential(v1.RandomCrop(80, 5))]),
        v1.RandomChoice([v1.RandomVerticalFlip(1), v1.RandomRotation(30), v1.Pad(9)], p=[1, 2, 3]),
        v1.RandomApply([v1.RandomRotation(10), v1.CenterCrop(70)], p=0.4),
        v1.Resize(TALL),
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_the_warp_names_the_point_that_each_pixel_shows(name: str) -> None:
    parts = PIPELINES[name]
    whole = v1.Compose(list(parts)) if isinstance(parts, tuple) else parts
    twin, traced, found = colourless(whole), Traced(parts), []
    for seed in range(100):
        source = SOURCES[seed % 3]
        shown, warp = seeded(seed, traced, source)
        assert torch.equal(shown, seeded(seed, whole, source))
        found.append(errors(seeded(seed, twin, source) if ops(whole) else shown, warp))
    assert_true(found)


def test_a_crop_and_a_mirror_are_a_view() -> None:
    for seed in range(20):
        _, warp = seeded(seed, Traced(trained()), SOURCES[0])
        assert warp.view is not None


@pytest.mark.parametrize("mode", ["rkrc", "rkrr"])
def test_what_is_padded_with_the_pictures_reflection_is_outside(mode: str) -> None:
    transform = trained(train_crop_mode=mode)
    filled = copy.deepcopy(transform)
    filled.transforms[1].padding_mode = "constant"
    padded = 0
    for seed in range(60):
        _, warp = seeded(seed, Traced(transform), SOURCES[seed % 3])
        inside = seen(warp, TALL)[1]
        assert (inside == (seeded(seed, filled, SOURCES[seed % 3])[2].numpy() > 0.5)).all()
        padded += not inside.all()
    assert padded > 5


def test_a_window_beside_the_picture_is_outside() -> None:
    beside = timm_transforms.RandomCropOrPad((20, 20))
    beside.get_params = lambda picture, size: (300, 300)
    pixels, warp = Traced(then_tensor(beside))(SOURCES[0])
    assert not pixels.any()
    assert not seen(warp, (20, 20))[1].any()


def test_padding_is_found_whatever_the_pictures_mode() -> None:
    for mode in ("L", "RGBA", "P"):
        source = SOURCES[0].convert(mode)
        pixels, warp = seeded(3, Traced(then_tensor(v1.RandomCrop(120, padding=30))), source)
        assert torch.equal(pixels, seeded(3, then_tensor(v1.RandomCrop(120, padding=30)), source))
        assert not seen(warp, (120, 120))[1].all()


@pytest.mark.parametrize("name", auto_augment.NAME_TO_OP)
def test_each_operation_of_timms_policies_is_traced(name: str) -> None:
    op = auto_augment.AugmentOp(name, prob=1, magnitude=9, hparams={"translate_const": 40, "magnitude_std": 0.3})
    transform = then_tensor(op)
    traced, found = Traced(transform), []
    for seed in range(12):
        source = SOURCES[seed % 3]
        pixels, warp = seeded(seed, traced, source)
        assert torch.equal(pixels, seeded(seed, transform, source))
        if op.aug_fn in MOVING:
            assert not seen(warp, TALL)[1].all()
            found.append(errors(pixels, warp))
        else:
            assert warp.stages == ()
    if op.aug_fn in MOVING:
        assert_true(found)


COLOURFUL: dict[str, Any] = {
    "jitter": {"color_jitter": 0.4},
    "jitter, sometimes": {"color_jitter": (0.4, 0.4, 0.2, 0.1), "color_jitter_prob": 0.5},
    "grey and blurred": {"grayscale_prob": 0.5, "gaussian_blur_prob": 0.3},
    "policy and jitter": {"auto_augment": "3a", "color_jitter": 0.3},
    "of the mean": {"auto_augment": "rand-m8-inc1", "mean": (0.485, 0.456, 0.406), "std": (0.2, 0.2, 0.2)},
    "for the prefetcher": {"use_prefetcher": True},
    "not normalised": {"normalize": False},
    "erased": {"re_prob": 0.7, "re_count": 3},
    "erased with a colour": {"re_prob": 0.7, "re_mode": "rand"},
    "erased with noise": {"re_prob": 0.7, "re_mode": "pixel", "re_count": 2},
}


@pytest.mark.parametrize("name", COLOURFUL)
def test_the_pixels_and_the_generators_are_those_of_the_pipeline_to_the_bit(name: str) -> None:
    transform = create_transform(TALL, is_training=True, **{"interpolation": "random", **COLOURFUL[name]})
    traced, geometry = Traced(transform), Traced(trained())
    for seed in range(8):
        source = SOURCES[seed % 3]
        expected = seeded(seed, transform, source)
        after = random.random(), np.random.random(), torch.rand(1)
        pixels, warp = seeded(seed, traced, source)
        assert (random.random(), np.random.random(), torch.rand(1)) == after
        assert torch.equal(pixels, expected)
        assert pixels.dtype == expected.dtype
        if "auto_augment" not in COLOURFUL[name]:
            places = seen(seeded(seed, geometry, source)[1], TALL)[0]
            assert (seen(warp, TALL)[0] == places).all()


def turned(form: str) -> Image.Image:
    """A picture file whose EXIF says that it lies on its side."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    SOURCES[0].save(file, form, exif=exif, quality=100)
    return Image.open(file)


def test_rotating_a_picture_by_its_exif_is_traced() -> None:
    transform = then_tensor(v1.Lambda(ImageOps.exif_transpose))
    pixels, warp = Traced(transform)(turned("JPEG"))
    assert pixels.shape == (3, 128, 96)
    assert torch.equal(pixels, transform(turned("JPEG")))
    assert_true([errors(pixels, warp)])


def test_the_source_is_the_picture_as_pil_reads_it() -> None:
    """It rotates a TIFF by its orientation when it loads it."""
    for transform in (then_tensor(v1.Resize((80, 90))), then_tensor(v1.Grayscale(3), v1.Resize((80, 90)))):
        pixels, warp = Traced(transform)(turned("TIFF"))
        assert torch.equal(pixels, transform(turned("TIFF")))
        assert warp.view == View.whole()


def test_the_users_own_steps_are_traced_as_far_as_pil_moves_the_pixels() -> None:
    transform = then_tensor(
        v1.Lambda(lambda picture: picture.convert("RGB").rotate(30, Image.Resampling.BILINEAR).crop((9, 9, 90, 80))),
        lambda picture: ImageOps.fit(picture, (50, 60)),
    )
    assert_true([errors(*Traced(transform)(source)) for source in SOURCES])
