"""How does every backend store labels? As five arrays of numbers, encoded and decoded here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage.encoding import scores
from storage.labelmap import LabelMap, no_class
from storage.schema import Schema
from storage.status import Status

FARTHEST = 2.0**28  # edge of a box: more than the pixels of the longest picture that is decoded

MOST_PIXELS = 2**36  # of a picture: 262,144 in a square, more than a slide under a microscope has


class CodedLabels(NamedTuple):
    """The labels of n pictures as every backend keeps them.

    classes: uint16 or uint32 [n, h, w, k]
    scores:  [n, h, w, k]: uint8 codes of probabilities (storage/encoding/scores.py), or float16 or float32 logits
    boxes:   float32 [n, 4]
    sizes:   uint32 [n, 2]
    status:  uint8 [n]
    """

    classes: NDArray[np.unsignedinteger]
    scores: NDArray[Any]
    boxes: NDArray[np.float32]
    sizes: NDArray[np.uint32]
    status: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Layout:
    """One of the arrays: its name, the axes of a row and their lengths, its type, and what an unwritten row holds."""

    name: str
    dimensions: tuple[str, ...]
    row: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: float

    @property
    def is_map(self) -> bool:
        """Whether it has a grid: such an array is compressed, and read picture by picture."""
        return "y" in self.dimensions


def layouts(schema: Schema) -> tuple[Layout, ...]:
    """The five arrays of a store of this schema."""
    axes, grid = ("y", "x", "rank"), (*schema.grid, schema.k)
    return (
        Layout("classes", axes, grid, schema.class_dtype, no_class(schema.class_dtype)),
        Layout("scores", axes, grid, schema.score_dtype, scores.FLAG if schema.scores == "probability" else 0),
        Layout("boxes", ("edge",), (4,), np.dtype(np.float32), np.nan),
        Layout("sizes", ("side",), (2,), np.dtype(np.uint32), 0),
        Layout("status", (), (), np.dtype(np.uint8), int(Status.PENDING)),
    )


def encode(labels: LabelMap, schema: Schema) -> CodedLabels:
    """The numbers to store. A score that rounds to zero is stored without a class, which costs no space."""
    if schema.scores == "logit":
        return CodedLabels(labels.classes, labels.scores, labels.boxes, labels.sizes, labels.status)
    codes = scores.encode(labels.scores)
    nothing = labels.classes.dtype.type(no_class(labels.classes.dtype))
    classes = np.where(scores.decode(codes) > 0, labels.classes, nothing)
    return CodedLabels(classes, codes, labels.boxes, labels.sizes, labels.status)


def decode(coded: CodedLabels, schema: Schema) -> LabelMap:
    """The labels of numbers whose checksums match."""
    probabilities = scores.decode(coded.scores) if schema.scores == "probability" else coded.scores
    return LabelMap.trusted(coded.classes, probabilities, coded.boxes, coded.sizes, coded.status, schema.scores)


def problems(coded: CodedLabels, schema: Schema) -> Iterator[str]:
    """One sentence for each way in which these numbers are not labels of this schema."""
    nothing = coded.classes == no_class(coded.classes.dtype)
    known = coded.classes[~nothing]
    if known.size and known.max() >= schema.class_count:
        yield f"a class id is {known.max()}, but the store has {schema.class_count} classes"
    if schema.scores == "probability":
        if (most := float(scores.mass(coded.scores).max(initial=0))) > 1:
            yield f"the probabilities of a location sum to {most:.3f}"
        if (nothing != (scores.decode(coded.scores) == 0)).any():
            yield "a class has no probability, or a probability has no class"
    elif np.isnan(coded.scores).any():
        yield "a logit is not a number"
    labelled = coded.status == Status.LABELLED
    if not np.isin(coded.status, [*Status]).all():
        yield f"a status is unknown: {coded.status.max()}"
    if not nothing[~labelled].all():
        yield "a row that is not labelled has a class"
    if not are_boxes(coded.boxes[labelled]):
        yield "a labelled row has no box, or one without area"
    if not are_sizes(coded.sizes):
        yield f"a picture has more than {MOST_PIXELS:,} pixels"


def are_sizes(sizes: NDArray[np.uint32]) -> bool:
    """Whether none of these sizes [..., 2] is larger than a picture can be."""
    return bool(np.multiply(sizes[..., 0], sizes[..., 1], dtype=np.uint64).max(initial=0) <= MOST_PIXELS)


def are_boxes(boxes: NDArray[np.float32]) -> bool:
    """Whether each of these boxes [n, 4] has an area, and no edge is farther away than any picture is long."""
    if not (np.abs(boxes) <= FARTHEST).all():  # nor if one is not a number
        return False
    return bool((boxes[:, 2:] - boxes[:, :2] >= 1 / FARTHEST).all())
