"""Is any pipeline taken as it is, traced to its source, and refused once where it cannot be?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import nn
from torchvision import transforms as v1
from torchvision.models import ResNet50_Weights
from torchvision.transforms import autoaugment, v2
from torchvision.transforms.v2 import _auto_augment

from tests.tokenlabel.pipelines.traced_pictures import SOURCES, assert_true, errors, seeded
from tokenlabel import Crops, LabelError, Traced
from tokenlabel.pipelines.augmentation import as_augmentation
from tokenlabel.pipelines.watched_step import COLOUR_OPERATIONS

pytestmark = pytest.mark.usefixtures("single_threaded")

POLICIES = (None, "ra", "ta_wide", "autoaugment", "augmix")
TRAINING = [
    (version, backend, policy)
    for version, backend in ((v1, "pil"), (v2, "pil"), (v2, "tensor"), (v2, "tv_tensor"))
    for policy in POLICIES
]


def train_preset(kind: Any, backend: str, policy: str | None, *, erase: float = 1.0) -> Any:
    """What torchvision's reference training of classification makes of its settings."""
    policies = {"ra": kind.RandAugment, "ta_wide": kind.TrivialAugmentWide, "augmix": kind.AugMix}
    first = {"pil": [], "tensor": [kind.PILToTensor()], "tv_tensor": [v2.ToImage()]}[backend]
    drawn = [] if policy is None else [policies.get(policy, kind.AutoAugment)()]
    to_float = v2.ToDtype(torch.float32, scale=True) if kind is v2 else v1.ConvertImageDtype(torch.float32)
    return kind.Compose(
        [
            *first,
            kind.RandomResizedCrop(64, antialias=True),
            kind.RandomHorizontalFlip(0.5),
            *drawn,
            *([kind.PILToTensor()] if backend == "pil" else []),
            *(to_float, kind.Normalize((0, 0, 0), (1, 1, 1)), kind.RandomErasing(erase)),
            *([v2.ToPureTensor()] if kind is v2 else []),
        ]
    )


def eval_preset(kind: Any, backend: str) -> Any:
    first = {"pil": [], "tensor": [kind.PILToTensor()], "tv_tensor": [v2.ToImage()]}[backend]
    to_float = v2.ToDtype(torch.float32, scale=True) if kind is v2 else v1.ConvertImageDtype(torch.float32)
    last = [v2.ToPureTensor()] if kind is v2 else []
    to_tensor = [kind.PILToTensor()] if backend == "pil" else []
    crop = kind.Resize(72, antialias=True), kind.CenterCrop(64)
    return kind.Compose([*first, *crop, *to_tensor, to_float, kind.Normalize((0, 0, 0), (1, 1, 1)), *last])


@pytest.fixture
def colours_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations on colours leave the picture of coordinates as it is, after the same draws."""

    def applied(real: Callable[..., Any], name_at: int) -> Callable[..., Any]:
        def apply(*args: Any, **named: Any) -> Any:
            return args[name_at - 1] if args[name_at] in COLOUR_OPERATIONS else real(*args, **named)

        return apply

    monkeypatch.setattr(autoaugment, "_apply_op", applied(autoaugment._apply_op, 1))

    base = _auto_augment._AutoAugmentBase
    real = base._apply_image_or_video_transform

    def of_v2(self: Any, image: Any, name: str, *settings: Any, **named: Any) -> Any:
        return image if name in COLOUR_OPERATIONS else real(self, image, name, *settings, **named)

    monkeypatch.setattr(base, "_apply_image_or_video_transform", of_v2)


def check(pipeline: Any, times: int = 4) -> None:
    """Check that it is traced as it is: the pipeline's own pixels to the bit, and where they come from."""
    augment, found = as_augmentation(pipeline), []
    assert isinstance(augment, Traced)
    for picture in SOURCES:
        for seed in range(times):
            pixels, warp = seeded(seed, augment, picture)
            assert torch.equal(pixels, seeded(seed, pipeline, picture))
            assert type(pixels) is torch.Tensor
            found.append(errors(pixels, warp))
    assert_true(found)


@pytest.mark.parametrize(("kind", "backend", "policy"), TRAINING)
def test_torchvisions_training_presets_are_traced_as_they_are(
    kind: Any, backend: str, policy: str | None, colours_stay: None
) -> None:
    pipeline = train_preset(kind, backend, policy)
    if policy == "augmix":
        with pytest.raises(LabelError, match="AugMix cannot be .*(TrivialAugmentWide|use a policy that moves)"):
            as_augmentation(pipeline)
    else:
        check(pipeline)


@pytest.mark.parametrize(("kind", "backend"), [(v1, "pil"), (v2, "pil"), (v2, "tensor"), (v2, "tv_tensor")])
def test_torchvisions_evaluation_presets_are_traced_as_they_are(kind: Any, backend: str) -> None:
    check(eval_preset(kind, backend), times=1)


def test_what_comes_with_torchvisions_weights_is_traced_as_it_is() -> None:
    of_weights = partial(ResNet50_Weights.IMAGENET1K_V2.transforms, crop_size=64, resize_size=72)
    check(of_weights(mean=(0, 0, 0), std=(1, 1, 1)), times=1)  # places are read from colours
    assert torch.equal(as_augmentation(of_weights())(SOURCES[0])[0], of_weights()(SOURCES[0]))


def test_a_sequential_of_v2_is_a_pipeline_of_v2() -> None:
    steps = [v2.RandomCrop(60), v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    check(nn.Sequential(*steps))


@pytest.mark.parametrize("policy", ["ra", "ta_wide", "autoaugment"])
@pytest.mark.parametrize("kind", [v1, v2])
def test_policies_that_change_colours_keep_the_pipelines_own_pixels(kind: Any, policy: str) -> None:
    pipeline = train_preset(kind, "pil", policy)
    augment = as_augmentation(pipeline)
    for seed in range(12):
        assert torch.equal(seeded(seed, augment, SOURCES[0])[0], seeded(seed, pipeline, SOURCES[0]))


PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1), "color_jitter": None}
OF_TIMM: dict[str, dict[str, Any]] = {
    "train": {"is_training": True},
    "no_aug": {"is_training": True, "no_aug": True},
    "rkrc": {"is_training": True, "train_crop_mode": "rkrc"},
    "rkrr": {"is_training": True, "train_crop_mode": "rkrr"},
    "random interpolation": {"is_training": True, "interpolation": "random", "vflip": 0.5},
    "erasing": {"is_training": True, "re_prob": 1.0, "re_mode": "const", "re_count": 3},
    "evaluation": {},
    "border": {"crop_mode": "border", "crop_pct": 0.9},
    "squash": {"crop_mode": "squash"},
    "tall": {"is_training": True, "input_size": (3, 48, 80)},
}


@pytest.mark.parametrize("name", OF_TIMM)
def test_timms_pipelines_are_traced_as_they_are(name: str) -> None:
    settings = {"input_size": 64, **PLAIN, **OF_TIMM[name]}
    if "is_training" not in settings:
        del settings["color_jitter"]
    check(create_transform(**settings))


@pytest.mark.parametrize("policy", ["3a", "rand-m9-mmax9-mstd0.5-inc1", "rand-m9-n3-t0", "original", "originalr"])
def test_timms_policies_are_taken_as_they_are(policy: str) -> None:
    pipeline = create_transform(64, is_training=True, auto_augment=policy, color_jitter=None)
    augment = as_augmentation(pipeline)
    for seed in range(4):
        assert torch.equal(seeded(seed, augment, SOURCES[0])[0], seeded(seed, pipeline, SOURCES[0]))


def test_what_says_itself_what_it_moves_is_left_as_it_is() -> None:
    def own(picture: Image.Image, rng: np.random.Generator) -> Any:
        return Crops((16, 16))(picture, rng)

    for augment in (own, Crops((16, 16)), Traced([v1.ToTensor()])):
        assert as_augmentation(augment) is augment


def test_lists_and_functions_of_a_picture_are_pipelines() -> None:
    def mirrored(picture: Image.Image) -> Image.Image:
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    for pipeline in ([mirrored, v1.ToTensor()], (mirrored, v1.ToTensor())):
        pixels, warp = as_augmentation(pipeline)(SOURCES[0], np.random.default_rng(0))
        assert_true([errors(pixels, warp)])
    with pytest.raises(LabelError, match="must give a tensor .*, but this one gave a picture"):
        as_augmentation(mirrored)(SOURCES[0], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("albumentations.core", "of albumentations .*from_coordinates"),
        ("kornia.augmentation", "kornia.*from_matrix"),
        ("transformers.models.vit", "image processor of Transformers .*processor.image_mean"),
    ],
)
def test_steps_of_other_libraries_are_refused_with_the_remedy_wherever_they_are(package: str, said: str) -> None:
    theirs = type("Theirs", (), {"__module__": package, "__call__": lambda self, *args, **named: args[0]})
    step = type("Own", (theirs,), {})()
    for pipeline in (
        *(step, [v1.ToTensor(), step], v1.Compose([v1.ToTensor(), step])),
        *([v2.ToImage(), step], v2.Compose([v2.ToImage(), v2.RandomApply([step])])),
    ):
        with pytest.raises(LabelError, match=f"Own cannot be traced: .*{said}"):
            as_augmentation(pipeline)
    known_to_be_still = Traced([v1.ToTensor(), step], still=[step])
    assert as_augmentation(known_to_be_still) is known_to_be_still


def test_a_function_of_another_form_is_refused_at_once() -> None:
    def by_name(*, image: Any) -> Any:
        return image

    def of_three(picture: Image.Image, rng: np.random.Generator, size: int) -> Any:
        return picture, rng, size

    for augment in (by_name, of_three, lambda: None):
        with pytest.raises(LabelError, match=r"takes neither a picture alone nor \(picture, generator\): give a func"):
            as_augmentation(augment)
