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
    contact_sheet,
)
from annotate.inspect.palette import PALETTE, font
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
    overlay = np.asarray(sheet).astype(int)[56 : 56 + size[0], 10 + 244 : 10 + 244 + size[1]]
    for y, x in ((0.25, 0.4), (0.25, 0.6), (0.75, 0.4), (0.75, 0.6)) if size[1] > size[0] else (
        (0.4, 0.25), (0.4, 0.75), (0.6, 0.25), (0.6, 0.75)
    ):  # fmt: skip
        row, column = int(y * size[0]), int(x * size[1])
        painted = 0.38 * 128 + 0.62 * np.array(PALETTE[truth[row, column]])
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


def test_a_picture_of_100_mb_is_shown(tmp_path: Path) -> None:
    size = (5900, 5900)
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "0.bmp")
    assert (tmp_path / "0.bmp").stat().st_size > 100e6
    store = a_store(tmp_path / "labels.zarr", LabelMap.stack([quadrant_label(Box.whole(), size)]), keys=["0.bmp"])
    sheet = np.asarray(contact_sheet(store, FolderReader(tmp_path).read, [0]))
    assert (sheet == [10, 200, 30]).all(-1).sum() > 176 * 150
