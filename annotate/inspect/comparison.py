"""How do two stores differ on the same pictures? For example two annotators, two scales, or before and after."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotate.class_names import Names
from annotate.errors import AnnotateError
from annotate.inspect.survey import labelled_batches, refuse_logits
from annotate.text import printable
from storage import KeyNotFoundError, LabelMap, LabelStore, OnProgress
from storage.operations.progress import silent

_LEAST = 1e-6  # a smaller probability counts as this one: stored ones are rounded, and logarithms need values above 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """How the labels of store B differ from those of store A, over the pictures that are labelled in both.

    pictures:   number of pictures labelled in both
    missing:    number of pictures labelled in A only
    agreement:  fraction of locations where both have the same best class
    within:     for each rank r, the fraction of locations where A's best class is among B's r best
    divergence: mean over locations of Σ p log(p / q), the Kullback-Leibler divergence of B's distribution q from A's p,
                nats; all classes that A does not name count as one
    by_class:   the classes on whose probability the two disagree most: name; agreement over the locations where it is
                A's best class, None where there are none; their number; and the mean over all locations of |p - q|
    most:       the pictures that differ most: key, divergence, agreement
    """

    pictures: int
    missing: int
    agreement: float
    within: tuple[float, ...]
    divergence: float
    by_class: tuple[tuple[str, float | None, int, float], ...]
    most: tuple[tuple[str, float, float], ...]

    def __repr__(self) -> str:
        """The main figures."""
        return (
            f"Comparison({self.pictures:,} pictures, agreement={self.agreement:.3f}, divergence={self.divergence:.4f})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "missing": self.missing,
            "agreement": self.agreement,
            "within": list(self.within),
            "divergence": self.divergence,
            "by_class": [
                {"class": name, "agreement": agreement, "locations": count, "disagreement": mass}
                for name, agreement, count, mass in self.by_class
            ],
            "most": [{"key": k, "divergence": d, "agreement": a} for k, d, a in self.most],
        }

    def describe(self, shown: int = 10) -> str:
        """The figures as text; of classes and pictures at most `shown`."""
        lines = [
            f"{self.pictures:,} pictures are labelled in both"
            + (f", {self.missing:,} of the first have no label in the second" * bool(self.missing))
        ]
        lines.append(f"agreement    {self.agreement:.3f}   of locations have the same best class")
        lines += [
            f"{'' if rank > 2 else 'within':13}{value:.3f}   the first store's top class is in the second's top {rank}"
            for rank, value in enumerate(self.within[1:], 2)
        ]
        lines.append(f"divergence   {self.divergence:.4f}  nats, of the second from the first, mean over locations")
        for n, (name, agreed, count, mass) in enumerate(self.by_class[:shown]):
            where = (
                f"{count:,} locations of the first, {100 * agreed:.0f} % agree"
                if agreed is not None
                else "the second only"
            )
            lines.append(f"{'' if n else 'disagree on':13}{mass:.4f}  {printable(name)}: best at {where}")
        for n, (key, value, same) in enumerate(self.most[:shown]):
            lines.append(
                f"{'' if n else 'differ most':13}{value:.3f}   nats, {100 * same:.0f} % agree: {printable(key)}"
            )
        return "\n".join(lines)


def compare(
    first: LabelStore,
    second: LabelStore,
    *,
    names: Names | None = None,
    most: int = 20,
    on_progress: OnProgress = silent,
) -> Comparison:
    """Compare the labels of two stores at each location of the first store's grid.

    Pictures are matched by key. Where the second store has another grid, or covers another part of the picture, its
    nearest location is compared.

    Args:
        first: one store.
        second: the other, of the same classes.
        names: names of the classes; default: those of the first store, or of the second if it has none.
        most: number of pictures to keep, of those that differ most.
        on_progress: called after each shard of the first store.

    Raises:
        AnnotateError: the scores are logits, or the stores have different classes or no labelled picture in common.
    """
    refuse_logits(first)
    refuse_logits(second)
    _refuse_other_classes(first, second)
    count, ranks = first.schema.class_count, min(first.schema.k, second.schema.k)
    locations = agreed = pictures = missing = 0
    within = np.zeros(ranks, np.int64)
    of_class, agreed_class = np.zeros(count, np.int64), np.zeros(count, np.int64)
    disputed = np.zeros(count)
    divergence = 0.0
    worst: list[tuple[float, int, float]] = []
    for rows, mine in labelled_batches(first, Counter(), on_progress):
        found = [_row(second, first.keys[row]) for row in rows.tolist()]
        there = np.array([row is not None for row in found])
        if there.any():
            theirs = second.read([row for row in found if row is not None])
            there[np.flatnonzero(there)[theirs.status != 0]] = False
            theirs = theirs[theirs.status == 0]
        missing += int((~there).sum())
        if not there.any():
            continue
        mine, rows = mine[there], rows[there]
        theirs = _on_the_grid_of(mine, theirs)
        top = mine.classes[..., 0]
        hits = (theirs.classes[..., :ranks] == top[..., None]) & (theirs.scores[..., :ranks] > 0)
        same = hits[..., 0]
        locations += same.size
        agreed += int(same.sum())
        pictures += len(rows)
        within += np.cumsum(hits, -1).astype(bool).sum((0, 1, 2))
        known = top < count
        of_class += np.bincount(top[known].ravel(), minlength=count)
        agreed_class += np.bincount(top[known & same].ravel(), minlength=count)
        disputed += _disputed(mine, theirs, count)
        far = _divergence(mine, theirs)
        divergence += float(far.sum())
        for row, value, part in zip(rows.tolist(), far.mean((1, 2)).tolist(), same.mean((1, 2)).tolist(), strict=True):
            heapq.heappush(worst, (max(value, 0.0), -row, part))
            if len(worst) > most:
                heapq.heappop(worst)
    if not pictures:
        raise AnnotateError(
            f"cannot compare {first.address} and {second.address}: they have no labelled picture in common; pictures "
            "are matched by key"
        )
    names = names or names_of(first, second)
    order = np.argsort(-disputed, kind="stable")[:20].tolist()
    return Comparison(
        pictures=pictures,
        missing=missing,
        agreement=agreed / locations,
        within=tuple((within / locations).tolist()),
        divergence=max(0.0, divergence / locations),
        by_class=tuple(
            (
                names[n],
                float(agreed_class[n] / of_class[n]) if of_class[n] else None,
                int(of_class[n]),
                float(disputed[n] / locations),
            )
            for n in order
            if disputed[n] > 0
        ),
        most=tuple((first.keys[-row], value, part) for value, row, part in sorted(worst, reverse=True)),
    )


def names_of(first: LabelStore, second: LabelStore) -> Names:
    """The names of the classes of two stores, from the first that has any."""
    return Names.of(first if first.schema.class_names is not None else second)


def _row(store: LabelStore, key: str) -> int | None:
    try:
        row = store.find(key)
    except KeyNotFoundError:
        return None
    return row if store.record(row // store.schema.rows_per_shard) is not None else None


def _refuse_other_classes(first: LabelStore, second: LabelStore) -> None:
    mine, theirs = first.schema, second.schema
    names, others = mine.class_names, theirs.class_names
    if mine.class_count == theirs.class_count and (not names or not others or names == others):
        return
    if not names or not others:
        raise AnnotateError(
            f"cannot compare: {first.address} has {mine.class_count} classes and {second.address} "
            f"{theirs.class_count}; only labels of the same classes can be compared. Label one of them again with the "
            "annotator or the vocabulary of the other"
        )
    common, only, more = set(names) & set(others), _without(names, others), _without(others, names)
    if common == set(names) == set(others):
        first_other = next(n for n, (a, b) in enumerate(zip(names, others, strict=False)) if a != b)
        how = f"the same names in another order, from class {first_other} on"
    else:
        how = f"{len(common):,} names that both have; {first.address} alone has {only}, {second.address} alone {more}"
    raise AnnotateError(
        f"cannot compare: of {mine.class_count:,} and {theirs.class_count:,} classes they have {how}. Only labels of "
        "the same classes can be compared: label one of them again with the classifier or the vocabulary of the other. "
        "Where names are only written differently, `annotate names STORE FILE` gives them anew"
    )


def _without(names: Sequence[str], others: Sequence[str], shown: int = 3) -> str:
    """The first of the names that the others lack, as text."""
    missing = [name for name in names if name not in set(others)]
    more = f" and {len(missing) - shown:,} more" if len(missing) > shown else ""
    return (", ".join(map(repr, missing[:shown])) or "none") + more


def _on_the_grid_of(mine: LabelMap, theirs: LabelMap) -> LabelMap:
    """Their labels at the centres of my locations, each from the nearest location."""
    if mine.grid == theirs.grid and np.array_equal(mine.boxes, theirs.boxes):
        return theirs
    (h, w), (rows, columns) = mine.grid, theirs.grid
    y = mine.boxes[:, 0, None] + (mine.boxes[:, 2] - mine.boxes[:, 0])[:, None] * (np.arange(h) + 0.5) / h
    x = mine.boxes[:, 1, None] + (mine.boxes[:, 3] - mine.boxes[:, 1])[:, None] * (np.arange(w) + 0.5) / w
    down = (y - theirs.boxes[:, 0, None]) / (theirs.boxes[:, 2] - theirs.boxes[:, 0])[:, None] * rows
    across = (x - theirs.boxes[:, 1, None]) / (theirs.boxes[:, 3] - theirs.boxes[:, 1])[:, None] * columns
    i, j = np.clip(down.astype(int), 0, rows - 1), np.clip(across.astype(int), 0, columns - 1)
    n = np.arange(len(theirs))[:, None, None]
    at = n, i[:, :, None], j[:, None, :]
    return LabelMap.trusted(theirs.classes[at], theirs.scores[at], mine.boxes, theirs.sizes, theirs.status, theirs.kind)


def _disputed(mine: LabelMap, theirs: LabelMap, count: int) -> NDArray[np.float64]:
    """The sum over all locations of |p - q| of each class, 0 where a store does not name it: float64 [C]."""
    same = (mine.classes[..., :, None] == theirs.classes[..., None, :]) & (theirs.scores > 0)[..., None, :]
    same &= (mine.scores > 0)[..., :, None]
    found = np.zeros(count)
    for label, difference in (
        (mine, np.abs(mine.scores - (same * theirs.scores[..., None, :]).sum(-1))),
        (theirs, np.where(same.any(-2), 0, theirs.scores)),  # of those that only the second names
    ):
        known = label.scores > 0
        found += np.bincount(label.classes[known], difference[known], minlength=count)
    return found


def _divergence(mine: LabelMap, theirs: LabelMap) -> NDArray[np.float64]:
    """Σ p log(p / q) at each location, over the classes that A names and all others as one: float64 [n, h, w]."""
    p = mine.scores.astype(np.float64)
    same = (mine.classes[..., :, None] == theirs.classes[..., None, :]) & (p > 0)[..., None]
    q = (same * theirs.scores[..., None, :]).sum(-1)
    p = np.concatenate([p, np.clip(1 - p.sum(-1, keepdims=True), 0, 1)], -1)
    q = np.concatenate([q, np.clip(1 - q.sum(-1, keepdims=True), 0, 1)], -1)
    p, q = np.maximum(p, _LEAST), np.maximum(q, _LEAST)
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    found: NDArray[np.float64] = (p * np.log(p / q)).sum(-1)
    return found
