"""What do the labels of a store say, by picture and by class? One pass over its shards collects all figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotate.class_names import Names
from annotate.errors import AnnotateError
from annotate.text import printable
from storage import LabelMap, LabelStore, OnProgress, Progress, Status
from storage.operations.progress import silent

BINS = 20  # bins of each histogram
_AT_ONCE = 4 << 20  # entries of a dense table of pictures and classes
_MOST_CLASSES = 4 * _AT_ONCE  # each picture needs such a table's row


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Survey:
    """What was found in a store of n rows and C classes.

    labelled:    bool [n], rows that have a label; for other rows the values below are 0, or NaN in own and peak
    confidence:  float32 [n], mean probability of a location's best class
    entropy:     float32 [n], mean entropy of a location, nats: the most that its label allows, see `entropy_bound`
    remainder:   float32 [n], mean probability outside the k classes of a location
    best:        int32 [n], the picture's class: the most probable one over all locations
    mass:        float32 [n], its mean probability over all locations
    area:        float32 [n], fraction of locations where it is the best class
    own:         float32 [n], mean probability of the dataset's own class; NaN where it is unknown
    peak:        float32 [n], its largest probability at any location; NaN likewise
    targets:     int32 [n], the dataset's own classes, -1 where unknown
    statuses:    number of rows by status, pending ones included
    covered:     mean fraction of a picture that its label covers
    locations:   int64 [C], number of locations where a class is best
    class_confidence, class_entropy: float64 [C], means over the locations where a class is best
    confidences, entropies: int64 [BINS], histograms of locations: confidence in [0, 1], entropy in [0, log(C)]
    confused:    number of pictures whose label has another class than their own: (own, label) -> pictures
    """

    labelled: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    entropy: NDArray[np.float32]
    remainder: NDArray[np.float32]
    best: NDArray[np.int32]
    mass: NDArray[np.float32]
    area: NDArray[np.float32]
    own: NDArray[np.float32]
    peak: NDArray[np.float32]
    targets: NDArray[np.int32]
    statuses: Counter[int]
    covered: float
    locations: NDArray[np.int64]
    class_confidence: NDArray[np.float64]
    class_entropy: NDArray[np.float64]
    confidences: NDArray[np.int64]
    entropies: NDArray[np.int64]
    confused: Counter[tuple[int, int]] = field(default_factory=Counter)

    def __repr__(self) -> str:
        """The numbers of pictures and classes, without the arrays."""
        labelled = int(self.labelled.sum())
        return f"Survey({labelled:,} of {len(self.labelled):,} pictures labelled, {len(self.locations):,} classes)"

    @property
    def agreement(self) -> float | None:
        """Fraction of pictures whose class by the label is the dataset's own; None if no own class is known."""
        judged = self.labelled & (self.targets >= 0)
        return float((self.best == self.targets)[judged].mean()) if judged.any() else None

    @property
    def doubt(self) -> NDArray[np.float32]:
        """How much a label contradicts the picture's own class: float32 [n] in [0, 1], NaN where that class is unknown.

        1 where the class has no probability at any location, 0 where one location is certain of it. Other classes in
        the picture do not matter, because many pictures show more than one thing.
        """
        return 1 - self.peak

    @property
    def suspicion(self) -> NDArray[np.float64]:
        """A sort key float64 [n]: doubt first; among equals, the probability of another class by the label."""
        return self.doubt + 1e-3 * np.where(self.best == self.targets, -1, self.mass).astype(np.float64)


def refuse_logits(store: LabelStore) -> None:
    """Check that the scores of a store are probabilities.

    Raises:
        AnnotateError: they are logits.
    """
    if store.schema.scores != "probability":
        raise AnnotateError(
            f"cannot show {store.address}: its scores are logits of another tool, not probabilities, and say "
            "nothing about the classes that are not stored; the commands status, verify and convert work on it"
        )


def entropy_bound(labels: LabelMap, count: int) -> NDArray[np.float32]:
    """The largest entropy that each location can have, given its label: float32 [..., h, w], nats, in [0, log(count)].

    A label says how much probability the classes have that it does not name, not which of them. Spread evenly over
    them, it gives the largest entropy. To count them as one class instead would make a location look more certain, the
    more of its probability lies outside the k best.

    Args:
        labels: of any number of pictures.
        count: number of the annotator's classes.
    """
    scores, rest = labels.scores, labels.remainder
    others = np.maximum(count - (scores > 0).sum(-1), 1).astype(np.float32)
    each = np.concatenate([scores, (rest / others)[..., None]], -1)
    logs = np.log(each, where=each > 0, out=np.zeros_like(each))
    found = -(scores * logs[..., :-1]).sum(-1) - rest * logs[..., -1]
    return np.clip(found, 0, np.float32(np.log(count)))


def own_classes(store: LabelStore, names: Names | None = None) -> NDArray[np.int32]:
    """The dataset's own class of each row as a class of the annotator, matched by name: int32 [n], -1 if unmatched.

    By its full name or, where no class has that, by one of its synonyms: "tabby" of "tabby, tabby cat". A name that
    several classes share matches none of them. If the annotator knows ImageNet's 1,000 classes, the dataset may name
    its classes by their synsets, for example n01440764.

    Args:
        store: the labels.
        names: of the annotator's classes; default: those of the store.
    """
    called = Names.of(store) if names is None else names
    known_names, own = called.known or (), store.schema.target_names or ()
    if known_names and known_names == own:  # then numbers match, even where two classes share a name
        return store.targets
    same = called.matching_each(own) if known_names else [[] for _ in own]
    if not any(same) and len(known_names) == len(synsets := _synsets()):
        number = {name: n for n, name in enumerate(synsets)}
        same = [[number[name]] if name in number else [] for name in own]
    numbers = np.array([*(each[0] if len(each) == 1 else -1 for each in same), -1], np.int32)
    known = np.where(store.targets < len(own), store.targets, -1)
    found: NDArray[np.int32] = numbers[known]  # index -1, the last entry, is -1
    return found


def about_unmatched(store: LabelStore, names: Names) -> str:
    """Why no picture has a class of its own that is one of the annotator's."""
    own = store.schema.target_names
    if not (store.targets >= 0).any():
        return "its pictures have no classes of their own (docs/sources.md says which collections have)"
    if own is None:
        return "its pictures' own classes are numbers without names, which may be others than the annotator's"
    said = f"its pictures' own classes ({_first(own)})"
    if names.known is None:
        return f"{said} have names, and the annotator's have none; give these with --names or `annotate names`"
    return f"{said} are named differently from the annotator's ({_first(names.known)}); --names gives these other names"


def _first(names: Sequence[str]) -> str:
    return ", ".join([*map(printable, names[:3]), *["…"] * (len(names) > 3)])


def _synsets() -> list[str]:
    """ImageNet's 1,000 synsets in the order of its classes, from timm's data file: importing timm takes seconds."""
    spec = find_spec("timm")
    file = Path(str(spec.origin)).parent / "data/_info/imagenet_synsets.txt" if spec else Path()
    return file.read_text().split() if file.is_file() else []


def survey(store: LabelStore, *, names: Names | None = None, on_progress: OnProgress = silent) -> Survey:
    """Read every committed shard once. Memory grows by about 40 bytes a row, and does not depend on the labels' size.

    Args:
        store: a store of probabilities.
        names: of the annotator's classes, by which the dataset's own classes are found; default: those of the store.
        on_progress: called after each shard.

    Raises:
        AnnotateError: the scores are logits, or there are too many classes to tabulate.
        DamageError: a shard differs from what was written.
    """
    refuse_logits(store)
    if store.schema.class_count > _MOST_CLASSES:
        raise AnnotateError(
            f"cannot describe {store.address}: by its header it has {store.schema.class_count:,} classes, and figures "
            f"are made of at most {_MOST_CLASSES:,}; the commands status and verify work on it"
        )
    targets = own_classes(store, names)  # read first: a forged header may say that there are any number of rows
    n, count = len(targets), store.schema.class_count
    figures = ("confidence", "entropy", "remainder", "mass", "area", "own", "peak")
    of_row = {name: np.zeros(n, np.float32) for name in figures}
    of_row["own"][:] = of_row["peak"][:] = np.nan
    labelled, best = np.zeros(n, bool), np.zeros(n, np.int32)
    statuses: Counter[int] = Counter()
    locations, sure, unsure = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    confidences, entropies = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    confused: Counter[tuple[int, int]] = Counter()
    covered = 0.0
    for rows, labels in labelled_batches(store, statuses, on_progress):
        entropy = entropy_bound(labels, count)
        confidence = labels.scores[..., 0]
        top = np.where(labels.scores[..., 0] > 0, labels.classes[..., 0], count).astype(np.int64)
        mass = masses(labels, count)
        chosen = mass.argmax(1)
        at = np.arange(len(rows))
        labelled[rows], best[rows] = True, chosen
        of_row["confidence"][rows] = confidence.mean((1, 2))
        of_row["entropy"][rows] = entropy.mean((1, 2))
        of_row["remainder"][rows] = labels.remainder.mean((1, 2))
        of_row["mass"][rows] = mass[at, chosen]
        of_row["area"][rows] = (top == chosen[:, None, None]).mean((1, 2))
        own = targets[rows]
        known = np.flatnonzero(own >= 0)
        of_row["own"][rows[known]] = mass[known, own[known]]
        here = np.where(labels.classes == own[:, None, None, None], labels.scores, 0).max((1, 2, 3))
        of_row["peak"][rows[known]] = here[known]
        confused.update((int(a), int(b)) for a, b in zip(own[known], chosen[known], strict=True) if a != b)
        locations += np.bincount(top.ravel(), minlength=count + 1)[:count]
        sure += np.bincount(top.ravel(), confidence.ravel(), minlength=count + 1)[:count]
        unsure += np.bincount(top.ravel(), entropy.ravel(), minlength=count + 1)[:count]
        confidences += np.histogram(confidence, BINS, (0, 1))[0]
        entropies += np.histogram(entropy, BINS, (0, np.log(count) + 1e-5))[0]
        inside = np.clip(labels.boxes, 0, 1)
        covered += float(((inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])).sum())
    return Survey(
        labelled=labelled,
        best=best,
        targets=targets,
        statuses=statuses,
        covered=covered / max(int(labelled.sum()), 1),
        locations=locations,
        class_confidence=sure / np.maximum(locations, 1),
        class_entropy=unsure / np.maximum(locations, 1),
        confidences=confidences,
        entropies=entropies,
        confused=confused,
        **of_row,
    )


def areas(store: LabelStore, number: int, *, on_progress: OnProgress = silent) -> NDArray[np.float32]:
    """Fraction of each picture's locations where this class is best: float32 [n] in [0, 1], 0 without a label."""
    refuse_logits(store)
    found = np.zeros(len(store.targets), np.float32)
    for rows, labels in labelled_batches(store, Counter(), on_progress):
        is_best = (labels.classes[..., 0] == number) & (labels.scores[..., 0] > 0)
        found[rows] = is_best.mean((1, 2))
    return found


def labelled_batches(
    store: LabelStore, statuses: Counter[int], on_progress: OnProgress
) -> Iterator[tuple[NDArray[np.int64], LabelMap]]:
    """The labelled rows and their labels, in batches of limited size; counts all rows by status in `statuses`."""
    step = max(1, _AT_ONCE // store.schema.class_count)
    for shard in range(store.shard_count):
        rows = store.rows_of(shard)
        if store.record(shard) is None:
            statuses[Status.PENDING] += len(rows)
            on_progress(_progress(rows.stop, len(store), statuses))
            continue
        for start in range(rows.start, rows.stop, step):
            some = np.arange(start, min(start + step, rows.stop))
            labels = store.read(some)
            statuses.update(labels.status.tolist())
            kept = labels.status == Status.LABELLED
            if kept.any():
                yield some[kept], labels[kept]
        store.backend.release(shard)  # otherwise all of a large store would stay mapped into memory
        on_progress(_progress(rows.stop, len(store), statuses))


def _progress(done: int, total: int, statuses: Counter[int]) -> Progress:
    failed = sum(n for status, n in statuses.items() if status not in (Status.LABELLED, Status.PENDING))
    return Progress(done, total, failed)


def masses(labels: LabelMap, count: int) -> NDArray[np.float64]:
    """The mean probability of each class over all locations of each picture: float64 [n, C]."""
    n, (h, w) = len(labels), labels.grid
    known = labels.scores > 0
    flat = np.arange(n)[:, None, None, None] * count + np.where(known, labels.classes, 0).astype(np.int64)
    mass = np.bincount(flat.ravel(), (labels.scores * known).ravel(), minlength=n * count)
    found: NDArray[np.float64] = mass.reshape(n, count) / (h * w)
    return found
