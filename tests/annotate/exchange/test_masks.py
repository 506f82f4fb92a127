"""Are masks for other tools the labels' best classes?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.errors import AnnotateError
from annotate.exchange.masks import MaskFormat, export_masks, mask_of
from annotate.inspect import (
    contact_sheet,
)
from storage import LabelMap, LabelStore, Progress
from tests.annotate.inspect.stores import COUNT, NAMES, a_store
from tests.labels import random_labels


@pytest.fixture
def labels() -> LabelMap:
    return random_labels(np.random.default_rng(0), 10, class_count=COUNT)


@pytest.fixture
def store(labels: LabelMap, tmp_path: Path) -> LabelStore:
    return a_store(tmp_path / "labels.zarr", labels)


def test_masks_are_palette_pngs_with_a_legend_and_named_by_row(labels: LabelMap, tmp_path: Path) -> None:
    keys = ["a/x.jpg", "a/x.png", *(f"{n}.jpg" for n in range(8))]
    store = a_store(tmp_path / "labels.zarr", labels, keys=keys)
    assert export_masks(store, tmp_path / "out", "png") == 10
    assert export_masks(store, tmp_path / "fo", "fiftyone") == 10
    listed = json.loads((tmp_path / "out/masks.json").read_text())
    assert list(listed) == keys
    legend = json.loads((tmp_path / "out/legend.json").read_text())
    assert [entry["name"] for entry in legend] == list(NAMES)
    for row, key in enumerate(keys):
        mask = mask_of(store[row], tuple(labels.sizes[row].tolist()))
        for folder, mode in (("out", "P"), ("fo", "L")):  # FiftyOne takes a palette's colours for the values
            with Image.open(tmp_path / folder / listed[key]) as picture:
                assert picture.mode == mode
                assert (np.asarray(picture) == mask).all()
                if mode == "P":
                    assert picture.getpalette()[3 * 5 : 3 * 6] == legend[4]["colour"]
    compile((tmp_path / "fo/open_in_fiftyone.py").read_text(), "recipe", "exec")
    with pytest.raises(AnnotateError, match="it is not empty; give a new folder"):
        export_masks(store, tmp_path / "out", "png")


def test_progress_is_reported_after_each_shard(store: LabelStore, tmp_path: Path) -> None:
    reported: list[Progress] = []
    export_masks(store, tmp_path / "out", "coco", on_progress=reported.append)
    assert reported == [Progress(4, 10, 0), Progress(8, 10, 0), Progress(10, 10, 0)]


def test_more_classes_than_a_mask_can_have_are_refused(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 2, class_count=40)
    labels = replace(labels, classes=labels.classes.astype(np.uint32) + 65_530)
    about = {"class_count": 70_000, "class_names": None, "target_names": None}
    store = a_store(tmp_path / "labels.zarr", labels, **about)
    for layout in ("png", "fiftyone"):
        with pytest.raises(AnnotateError, match="classes, and the store has 70,000; export to coco, which can have"):
            export_masks(store, tmp_path / layout, layout)
        assert not (tmp_path / layout).exists()
    assert export_masks(store, tmp_path / "coco", "coco") == 2
    found = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert {region["category_id"] for region in found["annotations"]} == {
        int(value) for row in range(2) for value in np.unique(mask_of(store[row], tuple(labels.sizes[row].tolist())))
    } - {0}


def test_pictures_of_unknown_size_are_shown_but_get_no_mask(labels: LabelMap, tmp_path: Path) -> None:
    labels.sizes[3] = 0
    store = a_store(tmp_path / "labels.zarr", labels)
    with pytest.raises(AnnotateError, match=r"the size of 1 pictures is not known, '3.jpg' the first"):
        export_masks(store, tmp_path / "out", "png")
    assert not (tmp_path / "out").exists()
    sheet = np.asarray(contact_sheet(store, lambda key: np.full((50, 70, 3), 77, np.uint8), [3]))
    assert (sheet == 77).all(-1).sum() > 176 * 100


def test_coco_regions_are_the_masks(store: LabelStore, labels: LabelMap, tmp_path: Path) -> None:
    assert export_masks(store, tmp_path / "out", "coco") == 10
    found = json.loads((tmp_path / "out/annotations.json").read_text())
    assert [category["name"] for category in found["categories"]] == list(NAMES)
    masks = {picture["id"]: np.zeros((picture["height"], picture["width"]), int) for picture in found["images"]}
    for region in found["annotations"]:
        counts, size = region["segmentation"]["counts"], region["segmentation"]["size"]
        assert sum(counts) == size[0] * size[1]
        flat = np.repeat(np.arange(len(counts)) % 2, counts).reshape(size, order="F").astype(bool)
        masks[region["image_id"]][flat] = region["category_id"]
        assert flat.sum() == region["area"]
        x, y, width, height = region["bbox"]
        assert flat[y : y + height, x : x + width].sum() == region["area"]
    for row in range(10):
        assert (masks[row + 1] == mask_of(store[row], tuple(labels.sizes[row].tolist()))).all()


def test_many_classes_are_masks_of_16_bits(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 2, class_count=900)
    store = a_store(tmp_path / "labels.zarr", labels, class_count=900, class_names=None, target_names=None)
    export_masks(store, tmp_path / "out", "png")
    with Image.open(tmp_path / "out/masks/00000001.png") as picture:
        assert (np.asarray(picture) == mask_of(store[1], tuple(labels.sizes[1].tolist()))).all()


@pytest.mark.parametrize("layout", ["png", "coco"])
def test_a_picture_that_is_too_large_for_a_mask_is_an_error_and_takes_no_memory(
    labels: LabelMap, tmp_path: Path, layout: MaskFormat
) -> None:
    labels.sizes[3] = 100_000
    store = a_store(tmp_path / "labels.zarr", labels)
    with pytest.raises(AnnotateError, match=r"1 pictures have more pixels than the 178,956,970 .*'3.jpg' the first"):
        export_masks(store, tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()
