"""Do policies move the label too, and is no picture silently moved without its label?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from tests.tokenlabel.coordinates import LABEL, SHAPES, Agreement, agreement, coordinates, labelled, pil_coordinates
from tokenlabel import LabelError
from tokenlabel.pipelines.label_tensor import LabelTensor, ResolveLabels
from tokenlabel.pipelines.policies import AutoAugment, LabeledCompose, RandAugment, TrivialAugmentWide

BILINEAR = v2.InterpolationMode.BILINEAR
POLICIES = {"RandAugment": RandAugment, "TrivialAugmentWide": TrivialAugmentWide, "AutoAugment": AutoAugment}
MOVING = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}


pytestmark = pytest.mark.usefixtures("single_threaded")


def policy(name: str, operations: set[str]) -> Any:
    """A policy of ours that draws of these operations only, so that colours still encode coordinates."""
    transform = POLICIES[name](interpolation=BILINEAR)
    space = {each: how for each, how in transform._AUGMENTATION_SPACE.items() if each in operations}
    assert space
    transform._AUGMENTATION_SPACE = space
    if isinstance(transform, AutoAugment):
        names = sorted(space)
        transform._policies = [((one, 0.9, 6), (other, 0.7, 9)) for one in names for other in names]
    return transform


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_moves_the_label_with_the_picture(name: str, shape: tuple[int, int]) -> None:
    found = agreement(policy(name, MOVING), tv_tensors.Image(coordinates(*shape)), draws=100)
    assert found.mean < 0.05
    assert found.worst < 0.5
    assert found.judged > 200_000
    assert found.outside > 20_000
    assert found.strays == 0


@pytest.mark.parametrize("name", POLICIES)
def test_pil_pictures_are_moved_by_the_same_rules(name: str) -> None:
    found = agreement(policy(name, MOVING), pil_coordinates(75, 100), draws=30)
    assert found.mean < 0.05
    assert found.worst < 0.5
    assert (
        found.strays < 1e-3 * found.outside
    )  # two moves, of which the second stretches the border that the first made


@pytest.mark.parametrize("name", POLICIES)
def test_what_changes_only_colours_leaves_the_label_where_it_is(name: str) -> None:
    colour = set(POLICIES[name]._AUGMENTATION_SPACE) - MOVING
    pipeline = LabeledCompose([policy(name, colour)])
    torch.manual_seed(0)
    changed = 0
    for _ in range(40):
        picture, label = pipeline(*labelled(pil_coordinates(75, 100)))
        assert label.warp.stages == ()
        changed += picture != pil_coordinates(75, 100)
    assert changed > 10


@pytest.mark.parametrize("name", POLICIES)
def test_every_operation_of_a_policy_either_moves_the_label_or_changes_only_colours(name: str) -> None:
    """One that a new torchvision adds, and that is not known to change only colours, is done to the label too."""
    transform, picture = POLICIES[name](), pil_coordinates(75, 100)
    for operation, (magnitudes, _) in transform._AUGMENTATION_SPACE.items():
        values = magnitudes(10, 75, 100)
        magnitude = 0.0 if values is None else float(values[5])
        transform._AUGMENTATION_SPACE = {operation: (lambda *_, m=magnitude: torch.full((31,), m), False)}
        transform._policies = [((operation, 1.0, 5),)]
        _, label = LabeledCompose([transform])(*labelled(picture))
        assert bool(label.warp.stages) == (operation in MOVING), operation


def test_a_policy_is_drawn_as_torchvision_draws_it() -> None:
    for ours, theirs in ((RandAugment, v2.RandAugment), (TrivialAugmentWide, v2.TrivialAugmentWide)):
        for seed in range(10):
            torch.manual_seed(seed)
            moved, _ = ours()(*labelled(pil_coordinates(75, 100)))
            torch.manual_seed(seed)
            assert moved == theirs()(pil_coordinates(75, 100))


def test_all_label_maps_of_a_sample_are_moved_and_nothing_else() -> None:
    torch.manual_seed(0)
    image, label = labelled(coordinates(75, 100))
    sample = {"labels": [label, label.clone()], "image": image, "class": torch.tensor(4)}
    moved = policy("RandAugment", {"Rotate"})(sample)
    assert [len(label.warp.stages) for label in moved["labels"]] == [2, 2]
    assert moved["class"] is sample["class"]


def test_two_threads_may_share_a_policy() -> None:
    transform = policy("TrivialAugmentWide", MOVING)

    def found(size: int) -> Agreement:
        return agreement(transform, tv_tensors.Image(coordinates(size, size)), draws=100)

    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(found, (40, 42)):
            assert result.worst < 0.5
            assert result.strays == 0


# ---- what would leave a label behind


def test_torchvisions_policies_do_leave_a_label_behind() -> None:
    """If this fails, torchvision has changed, and ours may no longer be needed."""
    for theirs in (v2.RandAugment(), v2.TrivialAugmentWide(), v2.AugMix()):
        label = LabelTensor(LABEL)
        assert theirs(pil_coordinates(75, 100), label)[1] is label


REFUSED = {
    "RandAugment": (v2.RandAugment(), "moves the picture and not its label; use tokenlabel.RandAugment"),
    "TrivialAugmentWide": (v2.TrivialAugmentWide(), "not its label; use tokenlabel.TrivialAugmentWide"),
    "AutoAugment": (v2.AutoAugment(), "moves the picture and not its label; use tokenlabel.AutoAugment"),
    "AugMix": (v2.AugMix(), "so that one pixel shows several of its points; use tokenlabel.RandAugment or"),
    "FiveCrop": (v2.FiveCrop(10), "makes five pictures of one, but a LabelTensor belongs to one; use CenterCrop"),
    "TenCrop": (v2.TenCrop(10), "makes ten pictures of one, but a LabelTensor belongs to one; use CenterCrop"),
    "LinearTransformation": (v2.LinearTransformation(torch.eye(3), torch.zeros(3)), "mixes all pixels .* leave it out"),
    "MixUp": (v2.MixUp(num_classes=10), "mixes the pictures of a batch, .* use tokenlabel.Mixer"),
    "CutMix": (v2.CutMix(num_classes=10), "mixes the pictures of a batch, .* use tokenlabel.Mixer"),
}
NESTED = {
    "alone": lambda step: [step],
    "after others": lambda step: [v2.Resize(50), step, ResolveLabels((2, 2))],
    "v2.Compose": lambda step: [v2.Compose([v2.Resize(50), step])],
    "LabeledCompose": lambda step: [v2.Resize(50), Unchecked([step])],
    "v1.Compose": lambda step: [v1.Compose([step])],
    "RandomApply": lambda step: [v2.RandomApply([step])],
    "RandomApply, modules": lambda step: [v2.RandomApply(nn.ModuleList([step]))],
    "RandomChoice": lambda step: [v2.RandomChoice([v2.Resize(50), v2.RandomOrder([step])])],
    "module": lambda step: [Hiding(step)],
}


class Unchecked(v2.Compose):
    pass


class Hiding(nn.Module):
    def __init__(self, step: Any) -> None:
        super().__init__()
        self.inner = nn.Sequential(step)


@pytest.mark.parametrize("name", REFUSED)
def test_what_leaves_labels_behind_is_refused_with_the_reason_and_what_to_do(name: str) -> None:
    step, reason = REFUSED[name]
    with pytest.raises(LabelError, match=f"{name} cannot be in a pipeline with labels: it .*{reason}"):
        LabeledCompose([step])


@pytest.mark.parametrize("where", NESTED)
def test_it_is_found_in_every_container(where: str) -> None:
    with pytest.raises(LabelError, match="RandAugment cannot be in a pipeline with labels"):
        LabeledCompose(NESTED[where](v2.RandAugment()))
    LabeledCompose(NESTED[where](RandAugment()))


def test_a_picture_that_was_changed_before_its_label_was_there_is_refused() -> None:
    picture = pil_coordinates(75, 100)
    turned = picture.transpose(method=4)
    with pytest.raises(
        LabelError,
        match="when its LabelTensor is made, the picture has 100x75 pixels, but its LabelTensor is for "
        r"one with 75x100: something changed the picture alone. .* rotated by EXIF",
    ):
        labelled(turned)
    pipeline = LabeledCompose([v2.CenterCrop(40), ResolveLabels((2, 2))])
    with pytest.raises(LabelError, match="before the first transform, the picture has 100x75 pixels"):
        pipeline(turned, LabelTensor(LABEL, picture))


@pytest.mark.parametrize("before", [v2.RandAugment(), v2.AugMix(), v2.GaussianBlur(5), v2.PILToTensor()])
def test_a_step_before_a_labeled_compose_is_noticed(before: Callable[..., Any]) -> None:
    """Even if the picture's size stays: nothing shows that a step outside has moved no pixel."""
    pipeline = v2.Compose([before, LabeledCompose([v2.CenterCrop(40), ResolveLabels((2, 2))])])
    torch.manual_seed(1)
    with pytest.raises(LabelError, match="was made for another: a step .* may have moved .* all steps into the"):
        pipeline(*labelled(pil_coordinates(75, 100)))
    with pytest.raises(LabelError, match="the first of the sample, but this one names none"):
        pipeline(pil_coordinates(75, 100), LabelTensor(LABEL))


def test_the_result_of_a_labeled_compose_is_no_longer_watched() -> None:
    first = LabeledCompose([v2.RandomHorizontalFlip(1)])
    again = LabeledCompose([LabeledCompose([v2.RandomHorizontalFlip(1)]), ResolveLabels((2, 2))])
    with pytest.raises(LabelError, match="this one names none"):
        again(*first(*labelled(pil_coordinates(75, 100))))
    assert again(*labelled(pil_coordinates(75, 100)))[1].outside.shape == (5,)


def test_a_transform_that_changes_the_picture_alone_is_named() -> None:
    class Halved(v2.Transform):
        def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
            return functional.resize(inpt, [30, 40]) if isinstance(inpt, tv_tensors.Image) else inpt

    pipeline = LabeledCompose([v2.RandomHorizontalFlip(), v2.ToImage(), Halved(), ResolveLabels((2, 2))])
    with pytest.raises(
        LabelError,
        match="after transform 3, Halved, the picture has 30x40 pixels, but its LabelTensor is for one with 75x100: .* "
        "a kernel for LabelTensor",
    ):
        pipeline(*labelled(pil_coordinates(75, 100)))


def test_pictures_without_labels_pass_through() -> None:
    pipeline = LabeledCompose([RandAugment(), v2.CenterCrop(40)])
    assert pipeline(pil_coordinates(75, 100)).size == (40, 40)
    assert pipeline(pil_coordinates(75, 100), 3)[1] == 3


@pytest.mark.parametrize("container", [v1.RandomApply, v1.RandomChoice, v1.RandomOrder])
def test_torchvisions_older_containers_hide_nothing(container: type) -> None:
    with pytest.raises(LabelError, match="RandAugment cannot be in a pipeline with labels"):
        LabeledCompose([container([v2.RandAugment()])])
