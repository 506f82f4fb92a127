"""Which pictures are shown? Those that are requested, the first in some order, or some chosen at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annotate.class_names import Names
from annotate.errors import AnnotateError, PictureError
from annotate.images.source import Picture
from annotate.inspect.survey import Survey, about_unmatched, areas, survey
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
    """Labelled rows; the same store and arguments always give the same rows.

    Args:
        store: the labels.
        count: how many rows, unless `keys` names them.
        seed: random seed.
        order: "random"; "entropy", the least certain first; "confidence", the most confident first; "disagreement",
            first those whose label contradicts their own class most.
        keys: pictures by key; if given, all other arguments are ignored.
        number: choose only pictures in which this class is best somewhere; those with most of it come first, unless an
            order is given.
        found: a survey of the store, if there is one already; otherwise it is made where the order needs it.

    Raises:
        AnnotateError: a picture in `keys` has no label, or "disagreement" has no classes to compare with.
    """
    if keys:
        rows = [store.find(key) for key in keys]
        status = store.column("status")[rows]
        if (bad := np.flatnonzero(status != Status.LABELLED)).size:
            raise AnnotateError(
                f"cannot show {keys[int(bad[0])]!r}: it has no label, its status is {Status(int(status[bad[0]])).word}"
            )
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
        raise AnnotateError(f"cannot sort {store.address} by disagreement: {about_unmatched(store, Names.of(store))}")
    return candidates[np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")][:count].tolist()


def refuse_strangers(store: LabelStore, rows: Sequence[int], read: Callable[[str], Picture]) -> None:
    """Refuse a collection that has none of these pictures: nothing could be shown but that they are gone.

    Args:
        store, rows: whose pictures are to be shown.
        read: returns a picture by its key.

    Raises:
        AnnotateError: every picture is missing.
    """
    reason = ""
    for row in rows:
        try:
            read(store.keys[row])
        except PictureError as error:
            if error.status != Status.MISSING:
                return
            reason = reason or error.reason
        else:
            return
    raise AnnotateError(
        f"--images has none of the {len(rows):,} pictures to show, such as {store.keys[rows[0]]!r}: {reason}. Give the "
        "collection that was labelled, so that its names are the keys of the store"
    )
