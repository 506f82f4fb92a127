"""How do labels get into the tools that people use already? As masks of the best class: PNG, COCO, FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotate.errors import AnnotateError
from annotate.inspect.names import Names
from annotate.inspect.sheet import PALETTE
from annotate.inspect.sheet import legend as legend_of
from annotate.inspect.survey import refuse_logits
from annotate.printable import printable
from storage import LabelMap, LabelStore, Status

Layout = Literal["png", "coco", "fiftyone"]
_MOST: dict[str, int] = {"png": 65_535, "coco": 2**31, "fiftyone": 255}
_UNKNOWN = 0  # in masks: no label here; class c is c + 1
_RECIPE = """\
# Opens these labels in FiftyOne: pip install fiftyone, then python {name} PICTURES
import json
import sys
from pathlib import Path

import fiftyone as fo

here, pictures = Path(__file__).parent, Path(sys.argv[1])
legend = {{entry["value"]: entry["name"] for entry in json.loads((here / "legend.json").read_text("utf-8"))}}
dataset = fo.Dataset("{dataset}", overwrite=True)
dataset.default_mask_targets = legend
dataset.add_samples(
    fo.Sample(filepath=str(pictures / key), labels=fo.Segmentation(mask_path=str(here / mask)))
    for key, mask in json.loads((here / "masks.json").read_text("utf-8")).items()
)
fo.launch_app(dataset).wait()
"""


def export(
    store: LabelStore,
    target: Path,
    layout: Layout,
    *,
    names: Names | None = None,
    report: Callable[[int], object] = lambda rows: None,
) -> int:
    """Write the best class of each location as masks of the pictures' own size; the number of pictures.

    png:      one palette PNG a picture (16-bit grey above 255 classes), masks/ROW.png, and legend.json, legend.png
    coco:     one COCO file, annotations.json, with a region of uncompressed RLE for each class of each picture
    fiftyone: masks of 8-bit grey, as it reads them, and a program that opens them with their pictures

    A mask has 0 where the label does not reach, and class c is c + 1; COCO's categories too.

    Args:
        store: the labels.
        target: a folder that is not there yet, or empty.
        layout: one of these.
        names: of the classes; by default those of the store.
        report: called with the rows that are done.

    Raises:
        AnnotateError: the folder holds something, it cannot be written, a picture's size is unknown, or there are more
            classes than such masks can have.
    """
    refuse_logits(store)
    names = names or Names.of(store)
    if len(names) > _MOST[layout]:
        raise AnnotateError(
            f"masks for {layout} can have {_MOST[layout]:,} classes, and the store has {len(names):,}; COCO's have any "
            "number"
        )
    labelled = store.column("status") == Status.LABELLED
    if (unknown := np.flatnonzero(labelled & ~store.column("sizes").all(1))).size:
        key = printable(store.keys[int(unknown[0])])
        raise AnnotateError(f"the size of {unknown.size:,} pictures is not known, {key!r} the first: no mask fits them")
    if target.is_dir() and any(target.iterdir()):
        raise AnnotateError(f"cannot export to {target}: it holds something; give a new folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        if layout == "coco":
            return _coco(store, target, names, report)
        return _masks(store, target, names, report, recipe=layout == "fiftyone")
    except OSError as error:
        raise AnnotateError(f"cannot write {target}: {error.strerror or error}") from error


def mask_of(label: LabelMap, size: tuple[int, int]) -> NDArray[np.int64]:
    """The best class of each pixel of a picture, plus 1, and 0 where the label does not reach: int64 [H, W].

    The outermost locations speak for half a location more, as they do in training.
    """
    (h, w), box, (height, width) = label.grid, label.box, size
    y = ((np.arange(height) + 0.5) / height - box.top) / box.height * h
    x = ((np.arange(width) + 0.5) / width - box.left) / box.width * w
    best = np.where(label.scores[..., 0] > 0, label.classes[..., 0].astype(np.int64) + 1, _UNKNOWN)
    rows, columns = np.clip(y.astype(int), 0, h - 1), np.clip(x.astype(int), 0, w - 1)
    mask = best[rows[:, None], columns[None]]
    mask[(y < -0.5) | (y > h + 0.5)] = _UNKNOWN
    mask[:, (x < -0.5) | (x > w + 0.5)] = _UNKNOWN
    return mask


def _labelled(
    store: LabelStore, report: Callable[[int], object]
) -> Iterator[tuple[int, str, LabelMap, tuple[int, int]]]:
    for rows, record in store.records():
        if record is not None:
            labels = store.read(rows)
            for n, row in enumerate(rows):
                if labels.status[n] != Status.LABELLED:
                    continue
                height, width = labels.sizes[n].tolist()
                yield row, store.keys[row], labels[n], (height, width)
        report(len(rows))


def _masks(store: LabelStore, target: Path, names: Names, report: Callable[[int], object], *, recipe: bool) -> int:
    listed = {}
    wide = len(names) > 255
    for row, key, label, size in _labelled(store, report):
        # Keys come from anywhere, and may differ in their suffix alone: the file is named by its row, too.
        path = Path("masks") / f"{row:08}.png"
        (target / "masks").mkdir(exist_ok=True)
        mask = mask_of(label, size)
        picture = Image.fromarray(mask.astype(np.uint16 if wide else np.uint8))
        if not (wide or recipe):  # FiftyOne takes the colours of a palette for the values
            picture.putpalette(_palette(len(names)))
        picture.save(target / path, optimize=True)
        listed[key] = path.as_posix()
    legend: list[dict[str, Any]] = [
        {"value": n + 1, "name": name, "colour": None if wide else list(_colour(n))} for n, name in enumerate(names)
    ]
    (target / "legend.json").write_text(json.dumps(legend, indent=1, ensure_ascii=False), encoding="utf-8")
    (target / "masks.json").write_text(json.dumps(listed, indent=1, ensure_ascii=False), encoding="utf-8")
    if not wide:
        _legend_picture(names).save(target / "legend.png")
    if recipe:
        name = "open_in_fiftyone.py"
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(store.address).name)
        (target / name).write_text(_RECIPE.format(name=name, dataset=safe), encoding="utf-8")
    return len(listed)


def _coco(store: LabelStore, target: Path, names: Names, report: Callable[[int], object]) -> int:
    pictures: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    for row, key, label, (height, width) in _labelled(store, report):
        pictures.append({"id": row + 1, "file_name": key, "height": height, "width": width})
        mask = mask_of(label, (height, width))
        for value in np.unique(mask[mask != _UNKNOWN]).tolist():
            here = mask == value
            rows, columns = np.flatnonzero(here.any(1)), np.flatnonzero(here.any(0))
            regions.append(
                {
                    "id": len(regions) + 1,
                    "image_id": row + 1,
                    "category_id": value,
                    "segmentation": {"size": [height, width], "counts": _runs(here)},
                    "area": int(here.sum()),
                    "bbox": [
                        int(columns[0]),
                        int(rows[0]),
                        int(columns[-1] - columns[0] + 1),
                        int(rows[-1] - rows[0] + 1),
                    ],
                    "iscrowd": 1,
                }
            )
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(names)]
    document = {"images": pictures, "annotations": regions, "categories": categories}
    (target / "annotations.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return len(pictures)


def _runs(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed RLE: lengths of runs, column by column, the first of pixels that are outside."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = [] if len(edges) and edges[-1] == mask.size else [mask.size]
    found: list[int] = np.diff(np.concatenate([[0], edges, ends])).astype(int).tolist()
    return found


def _colour(number: int) -> tuple[int, int, int]:
    return PALETTE[number % len(PALETTE)]


def _palette(count: int) -> list[int]:
    return [value for colour in [(0, 0, 0), *map(_colour, range(count))] for value in colour]


def _legend_picture(names: Names) -> Image.Image:
    return legend_of([(name, _colour(n)) for n, name in enumerate(names)], width=900)
