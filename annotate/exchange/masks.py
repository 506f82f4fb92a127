"""How do other tools read labels? As masks of the best class: PNG, COCO, FiftyOne."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from annotate.class_names import Names
from annotate.errors import AnnotateError
from annotate.images.decode import MAX_PIXELS
from annotate.inspect.palette import colour_of, legend
from annotate.inspect.survey import refuse_logits
from annotate.text import printable
from storage import LabelMap, LabelStore, OnProgress, Progress, Status
from storage.operations.progress import silent

MaskFormat = Literal["png", "coco", "fiftyone"]
_MOST_CLASSES: dict[MaskFormat, int] = {"png": 65_535, "coco": 2**31, "fiftyone": 255}
_UNKNOWN = 0  # in masks: no label here; class c has the value c + 1
_PROGRAM = """\
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


def export_masks(
    store: LabelStore,
    target: Path,
    layout: MaskFormat,
    *,
    names: Names | None = None,
    on_progress: OnProgress = silent,
) -> int:
    """Write the best class of each pixel of each labelled picture, as masks of the picture's own size.

    png:      one palette PNG for each picture, masks/ROW.png (16-bit grey above 255 classes), legend.json, legend.png
    coco:     one COCO file, annotations.json, with one region (uncompressed RLE) for each class of each picture
    fiftyone: masks of 8-bit grey, as FiftyOne reads them, and a program that opens them with their pictures

    In masks and in COCO's categories, class c has the value c + 1; 0 is where the label does not reach, and where a
    store that has all its classes gives more probability to none of them than to the best.

    Args:
        store: the labels.
        target: a folder that does not exist yet or is empty.
        layout: what to write, one of the above.
        names: names of the classes; default: those of the store.
        on_progress: called after each shard.

    Returns:
        The number of pictures that were written.

    Raises:
        AnnotateError: the scores are logits, the folder is not empty or cannot be written, a picture's size is unknown
            or larger than pictures that are decoded, or there are more classes than such masks can hold.
    """
    refuse_logits(store)
    names = names or Names.of(store)
    if len(names) > _MOST_CLASSES[layout]:
        raise AnnotateError(
            f"masks for {layout} can have {_MOST_CLASSES[layout]:,} classes, and the store has {len(names):,}; "
            "export to coco, which can have any number"
        )
    labelled = store.column("status") == Status.LABELLED
    if (unknown := np.flatnonzero(labelled & ~store.column("sizes").all(1))).size:
        key = printable(store.keys[int(unknown[0])])
        raise AnnotateError(
            f"cannot export {store.address}: the size of {unknown.size:,} pictures is not known, {key!r} the first, "
            "and a mask has its picture's size"
        )
    if (large := np.flatnonzero(labelled & (store.column("sizes").prod(1, dtype=np.uint64) > MAX_PIXELS))).size:
        key = printable(store.keys[int(large[0])])
        raise AnnotateError(
            f"cannot export {store.address}: {large.size:,} pictures have more pixels than the {MAX_PIXELS:,} that a "
            f"mask may have, {key!r} the first; `annotate select` makes a store of the others"
        )
    if target.is_dir() and any(target.iterdir()):
        raise AnnotateError(f"cannot export to {target}: it is not empty; give a new folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        if layout == "coco":
            return _coco(store, target, names, on_progress)
        return _masks(store, target, names, on_progress, program=layout == "fiftyone")
    except OSError as error:
        raise AnnotateError(f"cannot write {target}: {error.strerror or error}") from error


def mask_of(label: LabelMap, size: tuple[int, int], *, has_all: bool = False) -> NDArray[np.int64]:
    """The best class of each pixel of a picture plus 1, or 0 where the label does not reach: int64 [H, W].

    The outermost locations reach half a location further, as they do in training.

    Args:
        label: the label of one picture.
        size: the picture's height and width, pixels.
        has_all: whether the label has all classes, so that its remainder is of none, such as a vocabulary's background;
            there, 0 is also where it is larger than the best class.
    """
    (h, w), box, (height, width) = label.grid, label.box, size
    y = ((np.arange(height) + 0.5) / height - box.top) / box.height * h
    x = ((np.arange(width) + 0.5) / width - box.left) / box.width * w
    least = label.remainder if has_all else 0
    best = np.where(label.scores[..., 0] > least, label.classes[..., 0].astype(np.int64) + 1, _UNKNOWN)
    rows, columns = np.clip(y.astype(int), 0, h - 1), np.clip(x.astype(int), 0, w - 1)
    mask = best[rows[:, None], columns[None]]
    mask[(y < -0.5) | (y > h + 0.5)] = _UNKNOWN
    mask[:, (x < -0.5) | (x > w + 0.5)] = _UNKNOWN
    return mask


def _labelled(store: LabelStore, on_progress: OnProgress) -> Iterator[tuple[int, str, LabelMap, tuple[int, int]]]:
    progress = Progress(0, len(store), 0)
    for rows, record in store.records():
        failed = 0
        if record is not None:
            failed = len(record.failures)
            labels = store.read(rows)
            for n, row in enumerate(rows):
                if labels.status[n] != Status.LABELLED:
                    continue
                height, width = labels.sizes[n].tolist()
                yield row, store.keys[row], labels[n], (height, width)
        progress = Progress(progress.done + len(rows), progress.total, progress.failed + failed)
        on_progress(progress)


def _masks(store: LabelStore, target: Path, names: Names, on_progress: OnProgress, *, program: bool) -> int:
    listed = {}
    wide = len(names) > 255
    for row, key, label, size in _labelled(store, on_progress):
        # Keys come from anywhere, and may differ in their suffix only: a mask is named by its row.
        path = Path("masks") / f"{row:08}.png"
        (target / "masks").mkdir(exist_ok=True)
        mask = mask_of(label, size, has_all=store.schema.keeps_all_classes)
        picture = Image.fromarray(mask.astype(np.uint16 if wide else np.uint8))
        if not (wide or program):  # FiftyOne reads a palette's colours as values
            picture.putpalette(_palette(len(names)))
        picture.save(target / path, optimize=True)
        listed[key] = path.as_posix()
    values: list[dict[str, Any]] = [
        {"value": n + 1, "name": name, "colour": None if wide else list(colour_of(n))} for n, name in enumerate(names)
    ]
    (target / "legend.json").write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
    (target / "masks.json").write_text(json.dumps(listed, indent=1, ensure_ascii=False), encoding="utf-8")
    if not wide:
        legend([(name, colour_of(n)) for n, name in enumerate(names)], width=900).save(target / "legend.png")
    if program:
        name = "open_in_fiftyone.py"
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(store.address).name)
        (target / name).write_text(_PROGRAM.format(name=name, dataset=safe), encoding="utf-8")
    return len(listed)


def _coco(store: LabelStore, target: Path, names: Names, on_progress: OnProgress) -> int:
    pictures: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    for row, key, label, (height, width) in _labelled(store, on_progress):
        pictures.append({"id": row + 1, "file_name": key, "height": height, "width": width})
        mask = mask_of(label, (height, width), has_all=store.schema.keeps_all_classes)
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
    """COCO's uncompressed RLE: lengths of runs in column order, the first run of pixels outside the mask."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = [] if len(edges) and edges[-1] == mask.size else [mask.size]
    found: list[int] = np.diff(np.concatenate([[0], edges, ends])).astype(int).tolist()
    return found


def _palette(count: int) -> list[int]:
    return [value for colour in [(0, 0, 0), *map(colour_of, range(count))] for value in colour]
