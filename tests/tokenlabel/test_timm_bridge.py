"""Does the warp of a traced pipeline name the place that each pixel shows, and are the pixels those of the pipeline?"""

from __future__ import annotations

import copy
import functools
import io
import pickle
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps
from timm.data import auto_augment, create_loader, create_transform
from timm.data import transforms as timm_transforms
from timm.data.naflex_transforms import RandomResizedCropToSequence
from timm.data.random_erasing import RandomErasing
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.transforms import v2

from tests.tokenlabel.coordinates import eroded, pil_coordinates
from tokenlabel import LabelError, View
from tokenlabel.timm_bridge import Traced
from tokenlabel.warp import Warp

SIZES = [(96, 128), (128, 96), (112, 112)]
CELLS = 18  # of the label grid, along each axis
TALL = (64, 48)


pytestmark = pytest.mark.usefixtures("single_threaded")


SOURCES = [pil_coordinates(*size) for size in SIZES]


def seeded(seed: int, transform: Callable[[Image.Image], Any], picture: Image.Image) -> Any:
    """What the transform makes of the picture after all generators were seeded."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return transform(picture)


@functools.cache
def centres(height: int, width: int) -> np.ndarray:
    """The centres [H * W, 2] of all pixels."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


def seen(warp: Warp, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The place [H, W, 2] of each pixel in the source, and whether it is inside it [H, W]."""
    places, inside = warp.places(centres(*size))
    return places.reshape(*size, 2), inside.reshape(size)


def errors(pixels: torch.Tensor, warp: Warp) -> np.ndarray:
    """By how many cells the places that pixels [3, H, W], in [0, 1], show differ from those that the warp names.

    Where it says that they show nothing, they must show the filling.
    """
    colours = pixels.numpy().transpose(1, 2, 0)
    places, inside = seen(warp, colours.shape[:2])
    # In the source's outermost pixels, what interpolates mixes the filling in.
    far = eroded(inside, 2) & (np.abs(places - 0.5) < 0.48).all(-1)
    assert colours[far][:, 2].min(initial=1) > 0.9
    assert colours[eroded(~inside, 2)][:, 2].max(initial=0) < 0.7
    return CELLS * np.abs(colours[far][:, :2] - places[far])


def assert_true(all_errors: list[np.ndarray]) -> None:
    """That is how exact the warps must be: a twentieth of a cell in the mean, and half a cell anywhere."""
    found = np.concatenate(all_errors)
    assert len(found) > 1000
    assert found.mean() < 0.05
    assert found.max() < 0.5


def plain(size: tuple[int, int] = TALL, **settings: Any) -> v1.Compose:
    """A timm pipeline for pixels in [0, 1] that leaves the colours alone."""
    return create_transform(size, mean=(0, 0, 0), std=(1, 1, 1), **{"color_jitter": None, **settings})


def trained(**settings: Any) -> v1.Compose:
    return plain(**{"is_training": True, "interpolation": "random", **settings})


def augmented(policy: str, **settings: Any) -> v1.Compose:
    # The filling is grey, whatever the mean.
    transform = trained(auto_augment=policy, **settings)
    for op in ops(transform):
        op.kwargs["fillcolor"] = (128, 128, 128)
        if op.aug_fn is auto_augment.posterize:
            op.level_fn = at_least_a_bit  # in timm it may be none, which Pillow refuses
    return transform


def ops(transform: v1.Compose) -> list[auto_augment.AugmentOp]:
    """The operations of the policies in a pipeline."""
    found = []
    for step in transform.transforms:
        if isinstance(step, auto_augment.RandAugment):
            found += step.ops
        if isinstance(step, auto_augment.AutoAugment):
            found += [op for several in step.policy for op in several]
    return found


def at_least_a_bit(level: float, settings: dict[str, Any]) -> tuple[int]:
    return (8 - int(level) // 2,)


MOVING = {auto_augment.NAME_TO_OP[name] for name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")} | {
    auto_augment.NAME_TO_OP[name] for name in ("TranslateXRel", "TranslateYRel")
}


def unchanged(picture: Image.Image, *settings: Any, **named: Any) -> Image.Image:
    return picture


def blurred_once(picture: Image.Image, *settings: Any, **named: Any) -> Image.Image:
    random.uniform(0, 1)  # as the operation that it stands for
    return picture


def colourless(transform: v1.Compose) -> v1.Compose:
    """The same pipeline, drawing the same lots, without its policy's changes of colour."""
    twin = copy.deepcopy(transform)
    for op in ops(twin):
        if op.aug_fn not in MOVING:
            op.aug_fn = blurred_once if op.aug_fn is auto_augment.gaussian_blur_rand else unchanged
    return twin


def then_tensor(*steps: Any) -> v1.Compose:
    return v1.Compose([*steps, v1.ToTensor()])


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
def test_the_warp_names_the_place_that_each_pixel_shows(name: str) -> None:
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


def turned(form: str) -> Image.Image:
    """A picture file whose notes say that it lies on its side."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    SOURCES[0].save(file, form, exif=exif, quality=100)
    return Image.open(file)


def test_turning_a_picture_by_its_notes_is_traced() -> None:
    transform = then_tensor(v1.Lambda(ImageOps.exif_transpose))
    pixels, warp = Traced(transform)(turned("JPEG"))
    assert pixels.shape == (3, 128, 96)
    assert torch.equal(pixels, transform(turned("JPEG")))
    assert_true([errors(pixels, warp)])


def test_the_source_is_the_picture_as_pil_reads_it() -> None:
    """It turns a TIFF by its notes when it loads it."""
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


def rolled(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(picture), 9, 1))


def inverted(picture: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(picture))


def cut_out(picture: Image.Image) -> Image.Image:
    ImageDraw.Draw(picture).rectangle((20, 20, 40, 40), fill=0)
    return picture


def turned_in_place(picture: Image.Image) -> Image.Image:
    picture.getexif()[0x0112] = 3
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


class OwnJitter(v1.ColorJitter):
    """What torchvision's does not, this one may do."""


@pytest.mark.parametrize(
    "step",
    [
        rolled,
        inverted,
        cut_out,
        turned_in_place,
        v1.Lambda(rolled),
        OwnJitter(0.5),
        np.asarray,
        v1.functional.to_tensor,
    ],
)
def test_what_loses_the_trace_is_an_error(step: Any) -> None:
    with pytest.raises(
        LabelError, match=r"cannot be followed back.*Move them with PIL's crop.*still=\[step\]"
    ) as error:
        Traced(v1.Compose([v1.RandomResizedCrop(50), step, v1.ToTensor()]))(pil_coordinates(96, 128))
    assert repr(step) in str(error.value)


def test_the_error_says_what_came_of_the_step() -> None:
    with pytest.raises(LabelError, match="gave a picture of 60x50 pixels whose"):
        Traced([v1.Resize((60, 50)), rolled])(SOURCES[0])
    with pytest.raises(LabelError, match="gave a ndarray whose"):
        Traced([np.asarray])(SOURCES[0])


def test_what_moves_pixels_of_a_tensor_is_an_error() -> None:
    for step in (v1.RandomHorizontalFlip(), v1.CenterCrop(40), lambda pixels: pixels.roll(9, 2)):
        with pytest.raises(LabelError, match="was given a tensor, .*put the step before ToTensor"):
            Traced([v1.ToTensor(), step])(SOURCES[0])


def test_a_step_that_is_said_to_move_no_pixel_is_believed() -> None:
    for steps in ([inverted, v1.ToTensor()], [v1.ToTensor(), torch.neg], [v1.RandomApply([inverted]), v1.ToTensor()]):
        pixels, warp = seeded(0, Traced(steps, still=[inverted, torch.neg]), SOURCES[0])
        assert torch.equal(pixels, seeded(0, v1.Compose(steps), SOURCES[0]))
        assert warp.stages == ()


def test_unless_the_size_belies_it() -> None:
    step = v1.Resize((10, 12))
    with pytest.raises(LabelError, match="said to move no pixel, but of 96x128 pixels it made 10x12; leave it out"):
        Traced(then_tensor(step), still=[step])(SOURCES[0])
    with pytest.raises(LabelError, match="gave a ndarray, but a traced step must give a PIL picture or a tensor"):
        Traced(then_tensor(np.asarray), still=[np.asarray])(SOURCES[0])


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (trained(auto_augment="augmix-m5-w4-d2"), "AugMixAugment cannot be traced: it mixes versions"),
        (then_tensor(v1.AugMix()), "a pixel comes from several places; use a policy that moves it once"),
        (then_tensor(v1.RandAugment()), "RandAugment cannot be traced: .* use timm's policies"),
        (then_tensor(v1.FiveCrop(20)), "FiveCrop cannot be traced: it makes several pictures of one"),
        (then_tensor(v1.RandomApply([v1.TenCrop(20)])), "TenCrop cannot be traced"),
        (v1.LinearTransformation(torch.eye(12), torch.zeros(12)), "each of its pixels comes from all others"),
        (trained(patchify=True), "Patchify cannot be traced: it gives patches"),
        (v2.Compose([v2.RandomHorizontalFlip()]), "Compose cannot be traced: .*see tokenlabel.transforms"),
    ],
)
def test_what_can_be_known_at_once_is_refused_at_once(transform: Any, reason: str) -> None:
    with pytest.raises(LabelError, match=re.compile(reason)):
        Traced(transform)


def test_it_goes_from_a_picture_to_a_tensor() -> None:
    with pytest.raises(LabelError, match=r"must give a tensor \[channels, H, W\], but this one gave a picture of 9x9"):
        Traced(v1.Resize((9, 9)))(SOURCES[0])
    with pytest.raises(LabelError, match="starts from a PIL picture, but was given a tensor of shape"):
        Traced(then_tensor())(torch.zeros(3, 9, 9))  # type: ignore[arg-type]


def test_a_window_that_is_no_window_is_noticed() -> None:
    odd = timm_transforms.RandomPad((150, 140))
    odd.get_params = lambda picture, size: next(lots)
    lots = iter([(5, 5, 5, 5)])
    assert Traced(then_tensor(odd))(SOURCES[0])[1].stages
    turning = v1.Pad(3)
    turning.forward = lambda picture: ImageOps.expand(rolled(picture), 3)
    with pytest.raises(LabelError, match="does more than to cut out and pad"):
        Traced(then_tensor(turning))(SOURCES[0])


class Pictures(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Training pictures with a dense target: the place in the source of each of 8x6 tokens."""

    def __init__(self, transform: Any) -> None:
        self.traced = Traced(transform)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, warp = seeded(index, self.traced, SOURCES[index % 3])
        return pixels, torch.from_numpy(warp.places(centres(8, 6))[0]).float()


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
