"""How does a tree of other tools' labels become a store? Bit for bit, with the geometry that its files leave out."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from annotate.decode import measure
from annotate.errors import AnnotateError, PictureError
from annotate.images.source import ImageSource
from annotate.legacy.label_file import check_class_count, read_label
from annotate.legacy.names import TreeNames
from annotate.preprocess import center_box
from annotate.printable import listed
from storage import Box, LabelMap, Progress, Schema, Status, create_store, find_store
from storage.keys import check_keys
from storage.labelmap import no_class

Layout = Literal["tokenlabeling", "relabel"]
Geometry = Literal["squash", "center"]
_SCORE_TYPES: dict[Layout, str] = {"tokenlabeling": "float16", "relabel": "float32"}
_PROBED = 1000  # label files that are no labels, before the tree is taken for something else


@dataclass(frozen=True, kw_only=True)
class Imported:
    """How an import went.

    pictures:  of the whole collection
    labelled:  of them, those that have a label now
    failures:  key, status and reason of each picture without one, in this import or an earlier one
    left_over: label files of the tree that belong to no picture
    imported_now, seconds: what this import did, and in how long
    """

    pictures: int
    labelled: int
    failures: tuple[tuple[str, str, str], ...]
    left_over: tuple[str, ...]
    imported_now: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Every picture has a label."""
        return self.labelled == self.pictures

    def describe(self, shown: int = 20) -> str:
        """What the import did, for a person; of failures and left-over files no more than `shown`."""
        lines = ["there was nothing left to import"]
        if self.imported_now:
            lines = [f"imported {self.imported_now:,} labels in {self.seconds:.1f} s"]
        lines.append(f"{self.labelled:,} of {self.pictures:,} pictures are labelled")
        if self.failures:
            lines.append(f"{len(self.failures):,} pictures have no label:")
            lines += listed([f"{key}: {word}, {why}" for key, word, why in self.failures], shown)
        if self.left_over:
            lines.append(f"{len(self.left_over):,} label files belong to no picture:")
            lines += listed(self.left_over, shown)
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "labelled": self.labelled,
            "failures": [{"key": key, "status": status, "reason": why} for key, status, why in self.failures],
            "left_over": list(self.left_over),
            "imported_now": self.imported_now,
            "seconds": round(self.seconds, 3),
        }


def import_tree(
    tree: Path,
    source: ImageSource,
    address: str,
    *,
    layout: Layout,
    geometry: Geometry,
    class_count: int = 1000,
    rows_per_shard: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Imported:
    """Bring the labels of a tree into the store at the address; go on where an earlier import ended.

    A label file is one tensor [2, k, h, w]: logits and class ids, then rank, row, column. All must have the k and the
    grid of the first that is a label. The logits are kept bit for bit. What is wrong with one picture or its label file
    never stops the others: it is a row with a status and a reason. No file is run as code.

    Args:
        tree: the folder of the label files; annotate/legacy/names.py says how they are named.
        source: the pictures that the labels are of. Their sizes are read, and no pixel.
        address: of a store that is there, made with the same settings, or of a new one.
        layout: the tool that wrote the tree: "tokenlabeling", float16, or "relabel", float32.
        geometry: what that tool looked at, which no file says. "squash": the whole picture, its sides scaled each by
            its own factor, as ReLabel did. "center": the classical evaluation crop with crop_pct 1.0, the centre square
            of the picture, as TokenLabeling's generator does by its own instructions.
        class_count: classes that the labels choose from.
        rows_per_shard: pictures that are written and resumed together; by default those of the store that is there, or
            1,024, and fewer where there are few.
        report: called when the import begins and after each shard.

    Raises:
        AnnotateError: there is no such tree, no label in it, or more classes than its files can name.
        MismatchError: the store there was made differently.
        StoreError: the address cannot be used.
    """
    started = time.monotonic()
    if layout not in get_args(Layout) or geometry not in get_args(Geometry):
        raise AnnotateError(
            f"cannot import {layout!r} with the geometry {geometry!r}; the layout is one of {get_args(Layout)}, the "
            f"geometry one of {get_args(Geometry)}"
        )
    score_type = _SCORE_TYPES[layout]
    check_class_count(class_count, score_type)
    check_keys(source.keys)
    if not tree.is_dir():
        raise AnnotateError(f"there is no folder of label files at {tree}")
    root = tree.resolve()
    there = find_store(address)
    names = TreeNames(root, source.keys)
    left_over = tuple(names.left_over())
    labels = _Labels(root, names, source, score_type, class_count, geometry)
    h, w, k = labels.shape_of_first()
    schema = Schema(
        grid=(h, w),
        k=k,
        class_count=class_count,
        target_names=source.target_names,
        rows_per_shard=rows_per_shard
        or (there.schema.rows_per_shard if there else min(1024, max(1, len(source.keys) // 16))),
        scores="logit",
        score_type=score_type,
        recipe={"imported": layout, "geometry": geometry},
        provenance={
            "tree": root.name,
            "software": {name: version(name) for name in ("tokenlabel", "torch", "pillow", "zarr")},
        },
    )
    store = create_store(address, schema, source.keys, source.targets)
    pending = store.pending()
    progress = Progress(len(store) - sum(map(len, pending)), len(store), 0)
    report(progress)
    imported_now = 0
    for rows in pending:
        since = time.monotonic()
        shard, reasons = labels.of(rows, schema)
        run = {
            "attempt": 1,
            "seconds": round(time.monotonic() - since, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "worker": f"{platform.node()}:{os.getpid()}",
        }
        record = store.write(rows, shard, reasons=reasons, run=run)
        imported_now += record.labelled
        progress = Progress(progress.done + len(rows), progress.total, progress.failed + len(record.failures))
        report(progress)
    records = [record for _, record in store.records() if record]
    failures = [failure for record in records for failure in record.failures]
    store.tidy()
    return Imported(
        pictures=len(store),
        labelled=sum(record.labelled for record in records),
        failures=tuple((source.keys[failure.row], failure.status.word, failure.reason) for failure in failures),
        left_over=left_over,
        imported_now=imported_now,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Labels:
    """The labels of a tree, by row of its pictures."""

    root: Path
    names: TreeNames
    source: ImageSource
    score_type: str
    class_count: int
    geometry: Geometry

    def shape_of_first(self) -> tuple[int, int, int]:
        """The [h, w, k] of the first file that is a label.

        Raises:
            AnnotateError: there is none, or it does not go with the geometry.
        """
        wrong, firsts = 0, dict[Status, str]()
        for row, key in enumerate(self.source.keys):
            try:
                name = self.names.of(row)
                classes, _ = self._read(name)
            except PictureError as error:
                firsts.setdefault(error.status, f"\n  - {key}: {error.reason}")
                wrong += error.status != Status.MISSING
                if wrong == _PROBED:
                    break
                continue
            h, w, k = classes.shape
            if self.geometry == "center" and h != w:
                raise AnnotateError(
                    f'{name} has a grid of {h}x{w}, but "center" says that the labels are of the centre square of each '
                    'picture; "squash" says that they are of the whole picture'
                )
            return h, w, k
        raise AnnotateError(
            f"cannot import {self.root.name}: no {self.score_type} label of any of {len(self.source.keys):,} pictures "
            f"was found there.{''.join(firsts.values())}\nGive the folder in which the label files lie as the pictures "
            f"do in theirs, and its layout: {' or '.join(f'{name} ({kind})' for name, kind in _SCORE_TYPES.items())}"
        )

    def of(self, rows: range, schema: Schema) -> tuple[LabelMap, dict[int, str]]:
        """The labels of these rows, and why some have none."""
        n, maps = len(rows), (len(rows), *schema.grid, schema.k)
        classes = np.full(maps, no_class(schema.class_dtype), schema.class_dtype)
        scores = np.zeros(maps, schema.score_dtype)
        boxes, sizes = np.full((n, 4), np.nan, np.float32), np.zeros((n, 2), np.uint32)
        status = np.full(n, Status.LABELLED, np.uint8)
        reasons: dict[int, str] = {}
        for at, row in enumerate(rows):
            try:
                label = self._read(self.names.of(row), maps[1:])
                size = self._size(row)
            except PictureError as error:
                status[at], reasons[row] = error.status, error.reason
                continue
            classes[at], scores[at] = label
            boxes[at] = (Box.whole() if self.geometry == "squash" else center_box(size, (1, 1))).edges
            sizes[at] = size
        return LabelMap(classes, scores, boxes, sizes, status, "logit"), reasons

    def _read(
        self, name: str, shape: tuple[int, ...] | None = None
    ) -> tuple[NDArray[np.unsignedinteger], NDArray[np.floating[Any]]]:
        label = read_label(self.root, name, score_type=self.score_type, class_count=self.class_count)
        if shape is not None and label[0].shape != shape:
            h, w, k = label[0].shape
            raise PictureError(
                Status.UNDECODABLE,
                f"{name} has a grid of {h}x{w} with {k} classes at each location, the other labels one of "
                f"{shape[0]}x{shape[1]} with {shape[2]}",
            )
        return label

    def _size(self, row: int) -> tuple[int, int]:
        try:
            return measure(self.source.reader.read(self.source.keys[row]))
        except PictureError as error:
            raise PictureError(error.status, f"the picture: {error.reason}") from error
