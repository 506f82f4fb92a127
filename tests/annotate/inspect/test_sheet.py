"""Does a sheet show labels where they are?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.errors import AnnotateError
from annotate.exchange.masks import mask_of
from annotate.images import FolderReader
from annotate.inspect import (
    Names,
    contact_sheet,
)
from annotate.inspect.overlay import OPACITY, class_list, overlay
from annotate.inspect.palette import PALETTE, colours_of, font, shares
from annotate.model.preprocess import MODES
from storage import Box, LabelMap, LabelStore
from tests.annotate.inspect.stores import BOXES, a_store, quadrant_label, quadrants


@pytest.mark.parametrize("mode", BOXES)
@pytest.mark.parametrize("size", [(80, 240), (240, 80)])
def test_masks_and_overlays_lie_where_the_box_says(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    assert set(BOXES) == set(MODES)
    label = quadrant_label(BOXES[mode](size[1] > size[0]), size)
    mask, truth = mask_of(label, size), quadrants(size)
    known = mask > 0
    assert (mask[known] - 1 == truth[known]).all()
    part = {"squash": 1, "letterbox": 1, "center": 1 / 3 + 1 / 24}[mode]  # and half a location on each side
    assert known.mean() == pytest.approx(part, abs=0.01)
    grey = np.full((*size, 3), 128, np.uint8)
    Image.fromarray(grey).save(tmp_path / "0.png")
    store = a_store(tmp_path / "labels.zarr", LabelMap.stack([label]), keys=["0.png"])
    sheet = contact_sheet(store, FolderReader(tmp_path).read, [0], side=240)
    overlay = np.asarray(sheet).astype(int)[56 : 56 + size[0], 10 + 246 : 10 + 246 + size[1]]
    for y, x in ((0.25, 0.4), (0.25, 0.6), (0.75, 0.4), (0.75, 0.6)) if size[1] > size[0] else (
        (0.4, 0.25), (0.4, 0.75), (0.6, 0.25), (0.6, 0.75)
    ):  # fmt: skip
        row, column = int(y * size[0]), int(x * size[1])
        painted = (1 - OPACITY) * 128 + OPACITY * np.array(PALETTE[truth[row, column]])
        assert np.abs(overlay[row, column] - painted).max() < 6, (y, x)


@pytest.mark.parametrize("letter", "éÉüñçßłřαж×→–—")
def test_letters_of_names_are_drawn_and_no_boxes(letter: str) -> None:
    face = font(15)
    assert bytes(face.getmask(letter)) != bytes(face.getmask("\U000f0000"))


def test_a_sheet_shows_another_rank_and_refuses_one_out_of_range(store: LabelStore, labels: LabelMap) -> None:
    def read(key: str) -> np.ndarray:
        height, width = labels.sizes[int(key.removesuffix(".jpg"))].tolist()
        return np.full((height, width, 3), 90, np.uint8)

    best, second = (np.asarray(contact_sheet(store, read, [0, 1], rank=rank)) for rank in (1, 2))
    assert best.shape != second.shape or (best != second).any()
    with pytest.raises(AnnotateError, match="cannot show rank 4: each location has 3 classes; give 1 to 3"):
        contact_sheet(store, read, [0], rank=4)


def test_a_location_is_as_opaque_as_it_is_probable() -> None:
    """0.04 is nearly invisible beside 0.95, and in proportion to it."""
    label = quadrant_label(Box.whole(), (80, 80), (2, 2))
    label.scores[..., 0] = [[0.95, 0.5], [0.04, 0.0]]
    colours = dict.fromkeys(range(4), (255, 0, 0))
    painted = np.asarray(overlay(Image.new("RGB", (80, 80), (0, 0, 0)), label, colours)).astype(float)[..., 0] / 255
    for (y, x), p in (((20, 20), 0.95), ((20, 60), 0.5), ((60, 20), 0.04), ((60, 60), 0.0)):
        assert painted[y, x] == pytest.approx(OPACITY * p, abs=0.006)


def test_a_class_without_a_colour_is_grey_and_neighbours_with_one_differ() -> None:
    label = quadrant_label(Box.whole(), (80, 80), (8, 8))
    label.classes[..., 0] *= 10  # four classes that have one colour by their numbers
    (colours,) = colours_of([shares(label)])
    painted = np.asarray(overlay(Image.new("RGB", (80, 80), "white"), label, colours)).astype(int)
    four = [painted[y, x] for y in (20, 60) for x in (20, 60)]
    assert min(np.abs(one - other).sum() for n, one in enumerate(four) for other in four[:n]) > 100
    grey = np.asarray(overlay(Image.new("RGB", (80, 80), "white"), label, {}))
    assert (grey[..., 0] == grey[..., 2]).all()


def test_a_picture_stands_beside_the_first_synonyms_of_its_classes_and_their_shares() -> None:
    def listed(*names: str, part: float = 0.5) -> bytes:
        known = Names(2, names)
        return class_list([(0, [part]), (1, [0.2])], {0: (1, 2, 3), 1: (4, 5, 6)}, known, width=200).tobytes()

    shown = listed("tabby, tabby cat", "goose")
    assert shown == listed("tabby, Felis", "goose")
    assert shown != listed("tiger, tabby", "goose")
    assert shown != listed("tabby, tabby cat", "goose", part=0.6)
    picture = class_list([(0, [0.5]), (1, [0.2])], {0: (1, 2, 3), 1: (4, 5, 6)}, Names(2, ("a", "b")), width=200)
    colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
    assert {(1, 2, 3), (4, 5, 6)} <= colours


def test_a_sheet_names_the_classes_of_each_picture(store: LabelStore, labels: LabelMap) -> None:
    def read(key: str) -> np.ndarray:
        height, width = labels.sizes[int(key.removesuffix(".jpg"))].tolist()
        return np.full((height, width, 3), 90, np.uint8)

    plain = np.asarray(contact_sheet(store, read, [0, 1]))
    named = np.asarray(contact_sheet(store, read, [0, 1], names=Names(12, [f"other {n}" for n in range(12)])))
    differs = np.flatnonzero((plain != named).any((0, 2)))
    assert differs.size
    assert differs.min() >= 10 + 3 * 182  # right of the three pictures


def test_a_picture_of_100_mb_is_shown(tmp_path: Path) -> None:
    size = (5900, 5900)
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "0.bmp")
    assert (tmp_path / "0.bmp").stat().st_size > 100e6
    store = a_store(tmp_path / "labels.zarr", LabelMap.stack([quadrant_label(Box.whole(), size)]), keys=["0.bmp"])
    sheet = np.asarray(contact_sheet(store, FolderReader(tmp_path).read, [0]))
    assert (sheet == [10, 200, 30]).all(-1).sum() > 176 * 150
