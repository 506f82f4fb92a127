"""Do the figures and pictures say what the labels say, where they say it?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.errors import AnnotateError
from annotate.images import FolderImages, FolderReader
from annotate.inspect import (
    Names,
    areas,
    audit,
    choose_rows,
    compare,
    comparison_page,
    comparison_sheet,
    contact_sheet,
    describe,
    export,
    half_blocks,
    read_names,
    statistics,
    survey,
)
from annotate.inspect.export import mask_of
from annotate.inspect.sheet import PALETTE
from annotate.job import one_thread
from annotate.preprocess import MODES
from annotate.recipe import Recipe
from annotate.run import run
from annotate.workers import LocalWorkers
from demo import annotator, scenes
from storage import Box, LabelMap, LabelStore, Schema, Status, create_store, open_store
from tests.conftest import MODEL_KWARGS, dense
from tests.labels import random_labels

COUNT = 12
NAMES = tuple(f"class {n}" for n in range(COUNT))


def a_store(
    path: Path, labels: LabelMap, *, targets: list[int] | None = None, keys: list[str] | None = None, **schema: object
) -> LabelStore:
    """A store of these labels, four rows a shard; their own classes are the annotator's."""
    about = {"class_names": NAMES, "target_names": NAMES, "class_count": COUNT, **schema}
    made = Schema(grid=labels.grid, k=labels.k, rows_per_shard=4, **about)
    n = len(labels)
    store = create_store(
        path, made, keys or [f"{row}.jpg" for row in range(n)], targets or [row % 5 for row in range(n)]
    )
    for rows in store.shards():
        part = labels[list(rows)]
        reasons = {row: "it is broken" for row, status in zip(rows, part.status, strict=True) if status}
        store.write(rows, part, reasons=reasons)
    return store


@pytest.fixture
def labels() -> LabelMap:
    return random_labels(np.random.default_rng(0), 10, class_count=COUNT)


@pytest.fixture
def store(labels: LabelMap, tmp_path: Path) -> LabelStore:
    return a_store(tmp_path / "labels.zarr", labels)


# ---- figures


def test_a_survey_is_what_the_labels_say_one_by_one(store: LabelStore) -> None:
    """Held against dense maps, a picture at a time; of what the store gives back."""
    found = survey(store)
    for row in range(10):
        label = store[row]
        full = dense(label, COUNT)
        mass = full.mean((1, 2))
        best, own = int(mass.argmax()), row % 5
        assert found.best[row] == best
        assert found.mass[row] == pytest.approx(mass[best], abs=1e-6)
        assert found.own[row] == pytest.approx(mass[own], abs=1e-6)
        assert found.peak[row] == pytest.approx(full[own].max(), abs=1e-6)
        assert found.doubt[row] == pytest.approx(1 - full[own].max(), abs=1e-6)
        assert found.confidence[row] == pytest.approx(full.max(0).mean(), abs=1e-6)
        assert found.area[row] == pytest.approx((label.classes[..., 0] == best).mean())
        parts = np.concatenate([full, 1 - full.sum(0, keepdims=True)]).clip(1e-30)
        assert found.entropy[row] == pytest.approx(-(parts * np.log(parts)).sum(0).mean(), abs=1e-5)
    tops = np.stack([store[row].classes[..., 0] for row in range(10)])
    assert found.cells.tolist() == [(tops == number).sum() for number in range(COUNT)]
    assert found.confidences.sum() == found.entropies.sum() == tops.size
    assert found.agreement == np.mean([found.best[row] == row % 5 for row in range(10)])
    assert sum(found.confused.values()) == round(10 * (1 - found.agreement))
    number = int(found.best[0])
    assert areas(store, number) == pytest.approx((tops == number).mean((1, 2)))


def test_a_survey_does_not_depend_on_how_much_it_reads_at_once(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = survey(store)
    monkeypatch.setattr(sys.modules["annotate.inspect.survey"], "_AT_ONCE", 2 * COUNT)
    pieces = survey(store)
    for name in ("confidence", "best", "peak", "cells", "class_entropy", "entropies"):
        assert np.allclose(getattr(whole, name), getattr(pieces, name), equal_nan=True)


def test_what_is_unfinished_or_without_a_label_is_said_and_not_counted(labels: LabelMap, tmp_path: Path) -> None:
    broken = LabelMap.unlabelled(Status.UNDECODABLE, grid=labels.grid, k=labels.k, class_count=COUNT)
    labels = LabelMap.stack([broken, *(labels[n] for n in range(1, 10))])
    store = a_store(tmp_path / "labels.zarr", labels, keys=["\x1b[31mred.jpg", *(f"{n}.jpg" for n in range(1, 10))])
    (tmp_path / "labels.zarr/shards/record/c/2").unlink()
    store = open_store(tmp_path / "labels.zarr")
    figures = statistics(store, survey(store), Names.of(store))
    assert (figures.pictures, figures.labelled, figures.unlabelled) == (10, 7, {"undecodable": 1, "pending": 2})
    text = describe(store, figures)
    assert "10, of which 7 are labelled" in text
    assert "unfinished" in text
    assert "�[31mred.jpg: undecodable, it is broken" in text
    assert "\x1b" not in text


def test_figures_need_no_names_and_no_classes_of_the_pictures_own(labels: LabelMap, tmp_path: Path) -> None:
    store = a_store(tmp_path / "labels.zarr", labels, class_names=None, target_names=None)
    found = survey(store)
    figures = statistics(store, found, Names.of(store))
    assert figures.agreement is None
    assert figures.top_classes[0][0].isdecimal()
    with pytest.raises(AnnotateError, match="cannot audit .*: it has no classes of the pictures' own"):
        audit(store, found, Names.of(store))
    with pytest.raises(AnnotateError, match="nothing disagrees in"):
        choose_rows(store, 3, order="disagreement")


def test_names_come_from_a_file_where_the_store_has_none(labels: LabelMap, tmp_path: Path) -> None:
    store = a_store(tmp_path / "labels.zarr", labels, class_names=None, target_names=None)
    (tmp_path / "names.txt").write_text("\n".join(f"thing {n}" for n in range(COUNT)))
    names = Names.of(store, tmp_path / "names.txt")
    assert (names[3], names.number("thing 3"), names.number("3"), len(names)) == ("thing 3", 3, 3, COUNT)
    with pytest.raises(AnnotateError, match="no class 'thing 99' .* did you mean .*'thing 9'"):
        names.number("thing 99")
    (tmp_path / "names.txt").write_text("one\n")
    with pytest.raises(AnnotateError, match="has 1 lines, but there are 12 classes"):
        Names.of(store, tmp_path / "names.txt")
    with pytest.raises(AnnotateError, match="cannot read the class names"):
        read_names(tmp_path / "none.txt")


def test_classes_are_found_by_a_part_of_their_name_and_not_guessed(labels: LabelMap, tmp_path: Path) -> None:
    """As timm names those of ImageNet."""
    known = ("tabby, tabby cat", "crane", "crane", "7", *(f"thing {n}" for n in range(8)))
    names = Names(COUNT, known)
    assert (names.number("tabby cat"), names.number("Tabby"), names.number("0"), names.number("7")) == (0, 0, 0, 3)
    with pytest.raises(AnnotateError, match="2 classes are called 'crane': give the number of one of them, 1, 2"):
        names.number("crane")


def test_own_classes_meet_the_annotators_by_name(labels: LabelMap, tmp_path: Path) -> None:
    """A folder of some of its classes, in another order; and ImageNet's folders, which are named by synsets."""
    store = a_store(
        tmp_path / "some.zarr", labels, target_names=("class 4", "class 2", "other"), targets=[0, 1, 2] * 3 + [0]
    )
    found = survey(store)
    assert found.targets.tolist() == [4, 2, -1] * 3 + [4]
    assert found.agreement == np.mean([found.best[row] == found.targets[row] for row in range(10) if row % 3 < 2])
    about = {"class_count": 1000, "class_names": tuple(f"name {n}" for n in range(1000))}
    store = a_store(tmp_path / "in.zarr", labels, target_names=("n01443537", "n01440764"), targets=[0, 1] * 5, **about)
    assert survey(store).targets.tolist() == [1, 0] * 5


def test_what_another_tool_says_of_itself_is_text_and_never_an_error(labels: LabelMap, tmp_path: Path) -> None:
    for n, recipe in enumerate(
        (
            {"networks": [{"model": "\x1b]0;owned\x07\nx", "weights": "\x1b[2J"}], "preprocess": "\x1b[5m"},
            {"networks": [{}], "scales": 5},
            {"networks": "x", "scales": "y"},
            {},
        )
    ):
        store = a_store(tmp_path / f"{n}.zarr", labels, recipe=recipe, provenance={"head": "\x1b[7m", "networks": 3})
        text = describe(store, statistics(store, survey(store), Names.of(store)))
        assert "\x1b" not in text
        assert "\x07" not in text
        assert len(text.splitlines()) < 30


# ---- which pictures


def test_pictures_are_chosen_by_key_class_order_or_chance(store: LabelStore) -> None:
    found = survey(store)
    assert choose_rows(store, 9, keys=["7.jpg", "2.jpg"]) == [7, 2]
    assert choose_rows(store, 4, order="entropy") == np.argsort(-found.entropy, kind="stable")[:4].tolist()
    assert choose_rows(store, 4, order="confidence") == np.argsort(-found.confidence, kind="stable")[:4].tolist()
    assert choose_rows(store, 4, order="disagreement") == np.argsort(-found.doubt, kind="stable")[:4].tolist()
    assert choose_rows(store, 4, seed=1) == choose_rows(store, 4, seed=1) != choose_rows(store, 4, seed=2)
    number = int(found.best[3])
    area = areas(store, number)
    assert choose_rows(store, 99, number=number) == [
        n for n in np.argsort(-area, kind="stable").tolist() if area[n] > 0
    ]


def test_a_picture_without_a_label_cannot_be_asked_for(labels: LabelMap, tmp_path: Path) -> None:
    broken = LabelMap.unlabelled(Status.MISSING, grid=labels.grid, k=labels.k, class_count=COUNT)
    store = a_store(tmp_path / "labels.zarr", LabelMap.stack([broken, labels[1]]))
    with pytest.raises(AnnotateError, match=r"'0.jpg' has no label: it is missing"):
        choose_rows(store, 1, keys=["0.jpg"])
    assert choose_rows(store, 9) == [1]


# ---- where a label lies


def quadrants(size: tuple[int, int]) -> np.ndarray:
    """Which of four classes each pixel of a picture shows, [H, W]."""
    height, width = size
    lower, right = np.arange(height) >= height / 2, np.arange(width) >= width / 2
    return 2 * lower[:, None] + right[None]


def quadrant_label(box: Box, size: tuple[int, int], grid: tuple[int, int] = (8, 8)) -> LabelMap:
    """A sure label that names the quadrant in the middle of each location; of no class where that is no picture."""
    y = box.top + box.height * (np.arange(grid[0]) + 0.5) / grid[0]
    x = box.left + box.width * (np.arange(grid[1]) + 0.5) / grid[1]
    classes = (2 * (y >= 0.5)[:, None] + (x >= 0.5)[None]).astype(np.uint16)[..., None]
    return LabelMap(
        classes=classes,
        scores=np.ones((*grid, 1), np.float32),
        boxes=np.array(box.edges, np.float32),
        sizes=np.array(size, np.uint32),
        status=np.array(Status.LABELLED, np.uint8),
    )


BOXES = {  # of a picture of 240x80 and its like, on a square input
    "squash": lambda wide: Box.whole(),
    "letterbox": lambda wide: Box(-1, 0, 2, 1) if wide else Box(0, -1, 1, 2),
    "center": lambda wide: Box(0, 1 / 3, 1, 2 / 3) if wide else Box(1 / 3, 0, 2 / 3, 1),
}


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


def test_a_sheet_shows_another_rank_and_refuses_one_that_there_is_not(store: LabelStore, labels: LabelMap) -> None:
    def read(key: str) -> np.ndarray:
        height, width = labels.sizes[int(key.removesuffix(".jpg"))].tolist()
        return np.full((height, width, 3), 90, np.uint8)

    best, second = (np.asarray(contact_sheet(store, read, [0, 1], rank=rank)) for rank in (1, 2))
    assert best.shape != second.shape or (best != second).any()
    with pytest.raises(AnnotateError, match="rank 4 was asked for, of the 3 classes"):
        contact_sheet(store, read, [0], rank=4)


def test_a_picture_of_100_mb_is_shown(tmp_path: Path) -> None:
    size = (5900, 5900)
    Image.new("RGB", size, (10, 200, 30)).save(tmp_path / "0.bmp")
    assert (tmp_path / "0.bmp").stat().st_size > 100e6
    store = a_store(tmp_path / "labels.zarr", LabelMap.stack([quadrant_label(Box.whole(), size)]), keys=["0.bmp"])
    sheet = np.asarray(contact_sheet(store, FolderReader(tmp_path).read, [0]))
    assert (sheet == [10, 200, 30]).all(-1).sum() > 176 * 150


def test_a_terminal_shows_two_pixels_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    picture = Image.new("RGB", (4, 4), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 2, 4, 4))
    lines = half_blocks(picture, columns=4).splitlines()
    assert lines[0] == "\x1b[38;2;255;0;0;48;2;255;0;0m▀" * 4 + "\x1b[0m"
    assert lines[1] == "\x1b[38;2;0;0;255;48;2;0;0;255m▀" * 4 + "\x1b[0m"
    monkeypatch.setenv("COLORTERM", "")  # then the nearest of 216 colours
    assert half_blocks(picture, columns=4).splitlines()[0] == "\x1b[38;5;196;48;5;196m▀" * 4 + "\x1b[0m"


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_pictures_are_shown_in_terminals_that_show_colours(
    finished: Path, scene_folder: Path, terminal: bool, no_color: str, coloured: bool
) -> None:
    """A real terminal, or none."""
    words = [sys.executable, "-m", "cli", "inspect", str(finished), "--images", str(scene_folder / "images/val")]
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color, "COLORTERM": "", "COLUMNS": "80"}
    if terminal:
        leader, follower = os.openpty()
        process = subprocess.Popen(words, stdout=follower, stderr=subprocess.DEVNULL, env=environment)
        os.close(follower)
        text = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # how Linux says that nobody holds the other end
                break
            if not part:
                break
            text += part
        assert process.wait() == 0
        os.close(leader)
    else:
        text = subprocess.run(words, capture_output=True, env=environment, check=True).stdout
    assert (b"\x1b[38;5;" in text) == coloured
    assert b"agreement" in text


# ---- two stores


def test_a_store_agrees_with_itself_and_differs_from_another(
    store: LabelStore, labels: LabelMap, tmp_path: Path
) -> None:
    same = compare(store, store)
    assert (same.pictures, same.agreement, same.divergence, same.within) == (10, 1.0, 0.0, (1.0, 1.0, 1.0))
    swapped = replace(labels, classes=labels.classes[..., [1, 0, 2]])
    other = a_store(tmp_path / "other.zarr", swapped)
    found = compare(store, other)
    assert found.agreement == 0
    divergence, second = [], []
    for row, y, x in np.ndindex(10, *labels.grid):
        p = {int(c): float(v) for c, v in zip(store[row].classes[y, x], store[row].scores[y, x], strict=True) if v}
        q = {int(c): float(v) for c, v in zip(other[row].classes[y, x], other[row].scores[y, x], strict=True) if v}
        pairs = [(v, q.get(c, 0.0)) for c, v in p.items()]
        pairs.append((1 - sum(p.values()), 1 - sum(b for _, b in pairs)))
        pairs = [(max(a, 1e-6), max(b, 1e-6)) for a, b in pairs]
        totals = [sum(column) for column in zip(*pairs, strict=True)]
        divergence.append(sum(a / totals[0] * np.log(a / totals[0] * totals[1] / b) for a, b in pairs))
        second.append(max(p, key=p.get) in q)
    assert found.divergence == pytest.approx(np.mean(divergence), rel=1e-4)
    assert found.within[1] == pytest.approx(np.mean(second))
    assert found.most[0][1] >= found.most[-1][1]
    assert "differ most" in found.describe()


def test_pictures_meet_by_key_and_locations_by_place(tmp_path: Path) -> None:
    """A store in another order, on another grid, of another part of the picture."""
    size = (90, 90)
    mine = LabelMap.stack([quadrant_label(Box.whole(), size, (4, 4))] * 3)
    theirs = LabelMap.stack([quadrant_label(Box(-0.1, -0.1, 1.1, 1.2), size, (14, 14))] * 2)
    first = a_store(tmp_path / "a.zarr", mine, keys=["a", "b", "c"])
    second = a_store(tmp_path / "b.zarr", theirs, keys=["c", "b"])
    found = compare(first, second)
    assert (found.pictures, found.missing, found.agreement) == (2, 1, 1.0)
    with pytest.raises(AnnotateError, match="no labelled picture in common"):
        compare(first, a_store(tmp_path / "c.zarr", theirs, keys=["x", "y"]))
    others = tuple(reversed(NAMES))
    with pytest.raises(AnnotateError, match="labels can be compared where their classes are the same"):
        compare(first, a_store(tmp_path / "d.zarr", theirs, keys=["c", "b"], class_names=others, target_names=others))


def test_a_comparison_is_a_picture_and_a_page(store: LabelStore, labels: LabelMap) -> None:
    def read(key: str) -> np.ndarray:
        height, width = labels.sizes[int(key.removesuffix(".jpg"))].tolist()
        return np.full((height, width, 3), 90, np.uint8)

    found = compare(store, store)
    sheet = comparison_sheet(store, store, read, ["1.jpg", "2.jpg"])
    assert sheet.width > 600
    page = comparison_page(found, sheet, "<script>alert(1)</script>", "b")
    assert "<script" not in page
    assert "data:image/png;base64," in page


# ---- other tools


def test_masks_are_palette_pngs_with_a_legend_and_named_by_row(labels: LabelMap, tmp_path: Path) -> None:
    keys = ["a/x.jpg", "a/x.png", *(f"{n}.jpg" for n in range(8))]
    store = a_store(tmp_path / "labels.zarr", labels, keys=keys)
    assert export(store, tmp_path / "out", "png") == 10
    assert export(store, tmp_path / "fo", "fiftyone") == 10
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
    with pytest.raises(AnnotateError, match="it holds something; give a new folder"):
        export(store, tmp_path / "out", "png")


def test_more_classes_than_a_mask_can_have_are_refused(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 2, class_count=40)
    labels = replace(labels, classes=labels.classes.astype(np.uint32) + 65_530)
    about = {"class_count": 70_000, "class_names": None, "target_names": None}
    store = a_store(tmp_path / "labels.zarr", labels, **about)
    for layout in ("png", "fiftyone"):
        with pytest.raises(AnnotateError, match="classes, and the store has 70,000; COCO's have any number"):
            export(store, tmp_path / layout, layout)
        assert not (tmp_path / layout).exists()
    assert export(store, tmp_path / "coco", "coco") == 2
    found = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert {region["category_id"] for region in found["annotations"]} == {
        int(value) for row in range(2) for value in np.unique(mask_of(store[row], tuple(labels.sizes[row].tolist())))
    } - {0}


def test_pictures_of_unknown_size_are_shown_but_get_no_mask(labels: LabelMap, tmp_path: Path) -> None:
    labels.sizes[3] = 0
    store = a_store(tmp_path / "labels.zarr", labels)
    with pytest.raises(AnnotateError, match=r"the size of 1 pictures is not known, '3.jpg' the first"):
        export(store, tmp_path / "out", "png")
    assert not (tmp_path / "out").exists()
    sheet = np.asarray(contact_sheet(store, lambda key: np.full((50, 70, 3), 77, np.uint8), [3]))
    assert (sheet == 77).all(-1).sum() > 176 * 100


def test_coco_regions_are_the_masks(store: LabelStore, labels: LabelMap, tmp_path: Path) -> None:
    assert export(store, tmp_path / "out", "coco") == 10
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
    export(store, tmp_path / "out", "png")
    with Image.open(tmp_path / "out/masks/00000001.png") as picture:
        assert (np.asarray(picture) == mask_of(store[1], tuple(labels.sizes[1].tolist()))).all()


# ---- wrong classes


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 of the demo's scenes, labelled by an annotator that has learnt its digits."""
    root = tmp_path_factory.mktemp("judged")
    scenes.write(root, splits={"train": 1000})
    with one_thread():
        annotator.train(root / "annotator.safetensors")
    recipe = Recipe.for_model(
        annotator.MODEL, checkpoint=root / "annotator.safetensors", input_size=(64, 64), model_kwargs=MODEL_KWARGS
    )
    run(FolderImages(root / "images/train"), str(root / "labels.zarr"), recipe, LocalWorkers())
    return root / "labels.zarr"


def test_swapped_classes_are_found_among_the_first(judged: Path) -> None:
    """Two in a hundred pictures have another's class: at least 80 % of them are among the first 4 %, on average."""
    parts = []
    for seed in range(10):
        store = open_store(judged)
        rng, targets = np.random.default_rng(seed), store.targets.copy()
        swapped = rng.choice(len(store), len(store) // 50, replace=False)
        targets[swapped] = (targets[swapped] + rng.integers(1, 10, len(swapped))) % 10
        store.__dict__["targets"] = targets
        found = audit(store, survey(store), Names.of(store), part=0.04)
        assert len(found.suspects) == 40
        assert found.suspects[0].doubt >= found.suspects[-1].doubt
        named = {one.key for one in found.suspects}
        parts.append(np.mean([store.keys[row] in named for row in swapped.tolist()]))
    assert np.mean(parts) >= 0.8
    text = found.describe()
    assert "of 1,000 pictures, the 40 whose label speaks most against their class" in text
    assert "the annotator is least sure of" in text
