"""Which pictures are looked at? Those that are asked for, or the first in some order, or some by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError
from annotate.inspect.survey import Survey, areas, survey
from storage import LabelStore, Status

Order = Literal["random", "entropy", "confidence", "disagreement"]


def choose_rows(
    store: LabelStore,
    count: int,
    *,
    seed: int = 0,
    order: Order = "random",
    keys: Sequence[str] = (),
    number: int | None = None,
    found: Survey | None = None,
) -> list[int]:
    """Labelled rows, always the same for the same store and the same question.

    Args:
        store: the labels.
        count: how many, where none are named.
        seed: of what is drawn at random.
        order: "random"; "entropy", the least certain first; "confidence", the surest first; "disagreement", those first
            whose label speaks most against their own class.
        keys: pictures by name; then nothing else is asked.
        number: only pictures in which this class is best somewhere; those with most of it first, unless an order is
            asked for.
        found: a survey of the store, where one is at hand.

    Raises:
        AnnotateError: a picture that is asked for has no label, or there is nothing to disagree with.
    """
    if keys:
        rows = [store.find(key) for key in keys]
        status = store.column("status")[rows]
        if (bad := np.flatnonzero(status != Status.LABELLED)).size:
            raise AnnotateError(f"{keys[int(bad[0])]!r} has no label: it is {Status(int(status[bad[0]])).word}")
        return rows
    candidates = np.flatnonzero(store.column("status") == Status.LABELLED)
    if number is not None:
        area = areas(store, number)
        candidates = candidates[area[candidates] > 0]
        if order == "random":
            return candidates[np.argsort(-area[candidates], kind="stable")][:count].tolist()
    if order == "random":
        return sorted(np.random.default_rng(seed).permutation(candidates)[:count].tolist())
    found = found or survey(store)
    of_row: dict[str, NDArray[Any]] = {
        "entropy": found.entropy,
        "confidence": found.confidence,
        "disagreement": found.suspicion,
    }
    scores = of_row[order][candidates]
    if np.isnan(scores).all() and len(scores):
        raise AnnotateError(
            f"nothing disagrees in {store.address}: it has no classes of the pictures' own, or they have other names "
            "than the annotator's"
        )
    return candidates[np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")][:count].tolist()
