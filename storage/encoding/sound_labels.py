"""Which numbers can be no labels, although their checksums hold? They are refused before anything computes with them.

Somebody who forges a store computes its checksums too. A class id beyond the classes, or a box without area, would make
programs read beyond an array, or repeat a step without end. `coded_labels.problems` says more, and takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.encoding import coded_labels as coding
from storage.encoding.coded_labels import FARTHEST, MOST_PIXELS, CodedLabels
from storage.errors import DamageError, StoreError
from storage.labelmap import LabelMap, no_class
from storage.schema import Schema
from storage.status import Status

_TOO_LARGE = f"a picture of more than {MOST_PIXELS:,} pixels"


def encoded(labels: LabelMap, schema: Schema, rows: range, address: str) -> CodedLabels:
    """The numbers to store, which every reader will take for labels.

    Raises:
        StoreError: they are no labels of this schema.
    """
    coded = coding.encode(labels, schema)
    if (found := next(coding.problems(coded, schema), None)) is not None:
        raise StoreError(f"cannot write rows {rows.start} to {rows.stop} of {address}: {found}")
    return coded


def decoded(coded: CodedLabels, schema: Schema, rows: Sequence[int], address: str) -> LabelMap:
    """The labels of numbers that were read, of one row or of several.

    Raises:
        DamageError: they are no labels of this schema.
    """
    labels = coding.decode(coded, schema)
    if _problem(labels, schema) is None:
        return labels
    each = [labels] if labels.classes.ndim == 3 else map(labels.__getitem__, range(len(rows)))
    problems = ((row, _problem(label, schema)) for row, label in zip(rows, each, strict=True))
    row, found = next((row, found) for row, found in problems if found is not None)
    raise DamageError(
        f"row {row} of {address} is no label of this store: it has {found}; `annotate verify --deep` lists all of them"
    )


def refuse_column(name: str, values: NDArray[Any], address: str) -> None:
    """Check that each status, uint8 [n], is one that exists, and each size, uint32 [n, 2], one of a picture.

    Raises:
        DamageError: one is not.
    """
    found = None
    if name == "status" and _has_unknown(values):
        found = "a number that stands for nothing"
    if name == "sizes" and not coding.are_sizes(values):
        found = _TOO_LARGE
    if found is not None:
        raise DamageError(f"the {name} of {address} has {found}; `annotate verify --deep` lists the shards")


def _problem(labels: LabelMap, schema: Schema) -> str | None:
    """What makes them no labels of this schema. In few passes: training waits for this."""
    classes, scores, status = labels.classes, labels.scores, labels.status
    if not (_one_has_its_box(labels) if status.ndim == 0 else not _has_unknown(status) and _have_boxes(labels)):
        return "an unknown status" if _has_unknown(status) else "no box, or one without area"
    if not (_is_size(*labels.sizes.tolist()) if status.ndim == 0 else coding.are_sizes(labels.sizes)):
        return _TOO_LARGE
    is_logit = schema.scores == "logit"
    if classes.max(initial=0) >= schema.class_count:  # "no class" is the largest id; most labels have none of it
        empty = classes == no_class(classes.dtype)
        if (classes[~empty] >= schema.class_count).any():
            return f"a class id beyond its {schema.class_count:,} classes"
        if not is_logit and (scores[empty] > 0).any():
            return "a probability without a class"
    if is_logit:
        return "a logit that is not a number" if np.isnan(scores).any() else None
    return "probabilities that sum to more than 1" if scores[..., 0].min(initial=0) < 0 else None


def _has_unknown(status: NDArray[np.uint8]) -> bool:
    return bool(((status > Status.REFUSED) & (status != Status.PENDING)).any())


def _is_size(height: int, width: int) -> bool:
    return height * width <= MOST_PIXELS


def _have_boxes(labels: LabelMap) -> bool:
    return coding.are_boxes(labels.boxes[labels.status == Status.LABELLED])


def _one_has_its_box(labels: LabelMap) -> bool:
    """The same of one row, and that its status is known.

    In plain Python: comparing the status alone takes numpy longer than all of this.
    """
    status = int(labels.status)
    if status != Status.LABELLED:
        return status <= Status.REFUSED or status == Status.PENDING
    top, left, bottom, right = labels.boxes.tolist()
    return (
        -FARTHEST <= top < bottom <= FARTHEST
        and -FARTHEST <= left < right <= FARTHEST
        and (min(bottom - top, right - left) >= 1 / FARTHEST)
    )
