"""How is a tree of another tool's label files imported into a store? Bit for bit; the caller states its geometry."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError, PictureError
from annotate.exchange.label_file import check_class_count, read_label
from annotate.exchange.tree_names import TreeNames
from annotate.images.decode import measure
from annotate.images.source import ImageSource
from annotate.model.preprocess import center_box
from annotate.software import versions
from annotate.text import listed
from storage import (
    Box,
    KeyedFailure,
    LabelMap,
    OnProgress,
    Progress,
    Schema,
    Status,
    create_store,
    find_store,
    no_class,
)
from storage.keys.key import check_keys
from storage.operations.progress import silent

TreeLayout = Literal["tokenlabeling", "relabel"]
TreeGeometry = Literal["squash", "center"]
_SCORE_TYPES: dict[TreeLayout, str] = {"tokenlabeling": "float16", "relabel": "float32"}
_PROBED = 1000  # invalid label files after which the tree is refused as a whole


@dataclass(frozen=True, kw_only=True, repr=False)
class Imported:
    """How an import went.

    pictures:     number of pictures in the collection
    labelled:     number of pictures that have a label now
    failures:     key, status and reason of each picture without a label, from this import or an earlier one
    left_over:    label files of the tree that belong to no picture
    imported_now: number of labels that this import added
    seconds:      how long it took
    """

    pictures: int
    labelled: int
    failures: tuple[KeyedFailure, ...]
    left_over: tuple[str, ...]
    imported_now: int
    seconds: float

    def __repr__(self) -> str:
        """The numbers of pictures and labels."""
        return f"Imported({self.labelled:,} of {self.pictures:,} pictures labelled, {self.imported_now:,} now)"

    @property
    def complete(self) -> bool:
        """Every picture has a label."""
        return self.labelled == self.pictures

    def describe(self, shown: int = 20) -> str:
        """The result as text; of failures and left-over files at most `shown`."""
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
            "failures": [failure.to_json() for failure in self.failures],
            "left_over": list(self.left_over),
            "imported_now": self.imported_now,
            "seconds": round(self.seconds, 3),
        }


def import_tree(
    tree: Path,
    source: ImageSource,
    address: str,
    *,
    layout: TreeLayout,
    geometry: TreeGeometry,
    class_count: int = 1000,
    rows_per_shard: int | None = None,
    on_progress: OnProgress = silent,
) -> Imported:
    """Import the labels of a tree into the store at the address; continue where an earlier import ended.

    A label file is one tensor [2, k, h, w]: logits and class ids, then rank, row, column. All must have the k and the
    grid of the first valid one. The logits are kept bit for bit. A fault of one picture or its label file never stops
    the import: that picture becomes a row with a status and a reason. No file is run as code.

    Args:
        tree: the folder of the label files; annotate/exchange/tree_names.py describes their names.
        source: the labelled pictures. Only their sizes are read, not their pixels.
        address: where the store is to be made, or exists already, made with the same settings.
        layout: which tool wrote the tree: "tokenlabeling", float16, or "relabel", float32.
        geometry: which part of the picture that tool labelled, which no file states. "squash": the whole picture,
            stretched to the input's shape, as ReLabel does. "center": the centre square of the picture, the usual
            evaluation crop with crop_pct 1.0, as the instructions of TokenLabeling's generator say.
        class_count: number of classes that the labels choose from.
        rows_per_shard: pictures that are written and resumed together; default: those of the existing store, or 1,024,
            and fewer for a small collection.
        on_progress: called when the import begins and after each shard.

    Raises:
        AnnotateError: there is no such tree, it holds no valid label, or its files cannot number so many classes.
        MismatchError: the existing store was made with other settings.
        StoreError: the address cannot be used.
    """
    started = time.monotonic()
    if layout not in get_args(TreeLayout) or geometry not in get_args(TreeGeometry):
        raise AnnotateError(
            f"cannot import {layout!r} with the geometry {geometry!r}; the layout is one of {get_args(TreeLayout)}, "
            f"the geometry one of {get_args(TreeGeometry)}"
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
            "software": versions("tokenlabel", "torch", "pillow", "zarr"),
        },
    )
    store = create_store(address, schema, source.keys, source.targets)
    pending = store.pending()
    progress = Progress(len(store) - sum(map(len, pending)), len(store), 0)
    on_progress(progress)
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
        on_progress(progress)
    records = [record for _, record in store.records() if record]
    failures = [failure for record in records for failure in record.failures]
    store.backend.remove_leftovers()
    return Imported(
        pictures=len(store),
        labelled=sum(record.labelled for record in records),
        failures=tuple(KeyedFailure(source.keys[each.row], each.status.word, each.reason) for each in failures),
        left_over=left_over,
        imported_now=imported_now,
        seconds=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Labels:
    """The labels of a tree by the row of their picture."""

    root: Path
    names: TreeNames
    source: ImageSource
    score_type: str
    class_count: int
    geometry: TreeGeometry

    def shape_of_first(self) -> tuple[int, int, int]:
        """The shape [h, w, k] of the first valid label.

        Raises:
            AnnotateError: there is none, or its shape contradicts the geometry.
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
            f"was found there.{''.join(firsts.values())}\nGive the folder whose label files have the same "
            "relative paths as the pictures, and its layout: "
            f"{' or '.join(f'{name} ({kind})' for name, kind in _SCORE_TYPES.items())}"
        )

    def of(self, rows: range, schema: Schema) -> tuple[LabelMap, dict[int, str]]:
        """The labels of these rows, and by row the reasons why some have none."""
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
                f"{name} has a grid of {h}x{w} with {k} classes at each location; the other labels have a grid of "
                f"{shape[0]}x{shape[1]} with {shape[2]}",
            )
        return label

    def _size(self, row: int) -> tuple[int, int]:
        try:
            return measure(self.source.reader.read(self.source.handles[row]))
        except PictureError as error:
            raise PictureError(error.status, f"the picture: {error.reason}") from error
