"""What do the labels of a store look like in figures? A text for a person, from one pass over the shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotate.errors import AnnotateError
from annotate.printable import printable
from annotate.recipe import annotator_of
from storage import LabelStore, Status


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Figures over all labelled pictures of a store.

    pictures:   rows of the store
    labelled:   rows with a label
    unlabelled: how many other rows there are of each status, "pending" among them
    confidence: mean probability of the best class of a location
    remainder:  mean probability that the k classes leave
    entropy:    mean entropy of a location over its k classes and the remainder, nats
    agreement:  how often the class with the most probability over all locations is the data set's own, or None where
                the two do not share class names
    top_classes: the classes that are best at most locations, with their part of all locations
    """

    pictures: int
    labelled: int
    unlabelled: dict[str, int]
    confidence: float
    remainder: float
    entropy: float
    agreement: float | None
    top_classes: tuple[tuple[str, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "confidence": self.confidence,
            "remainder": self.remainder,
            "entropy": self.entropy,
            "agreement": self.agreement,
            "top_classes": [{"class": name, "part": part} for name, part in self.top_classes],
        }


def class_name(store: LabelStore, number: int) -> str:
    """The name of a class, or its number where the store has no names."""
    names = store.schema.class_names
    return names[number] if names is not None else str(number)


def refuse_logits(store: LabelStore) -> None:
    """Refuse a store whose scores are no probabilities, for what is shown are probabilities.

    Raises:
        AnnotateError: they are logits.
    """
    if store.schema.scores != "probability":
        raise AnnotateError(
            f"cannot show {store.address}: its scores are logits, as another tool wrote them, and say nothing of the "
            "classes beyond the k; status, verify and convert work on it"
        )


def statistics(store: LabelStore) -> Statistics:
    """Read every committed shard once; memory does not grow with the store.

    Raises:
        AnnotateError: the scores are no probabilities.
        DamageError: a shard is not what was written.
    """
    refuse_logits(store)
    schema = store.schema
    comparable = schema.class_names is not None and schema.class_names == schema.target_names
    targets = store.targets if comparable else None
    statuses: Counter[int] = Counter()
    best: Counter[int] = Counter()
    cells = agreed = judged = 0
    confidence = remainder = entropy = 0.0
    for rows, record in store.records():
        if record is None:
            statuses[Status.PENDING] += len(rows)
            continue
        labels = store.read(np.arange(rows.start, rows.stop))
        statuses.update(labels.status.tolist())
        kept = labels.status == Status.LABELLED
        labels = labels[kept]
        if not len(labels):
            continue
        parts = np.concatenate([labels.scores, labels.remainder[..., None]], axis=-1).astype(np.float64)
        cells += parts[..., 0].size
        confidence += parts[..., 0].sum()
        remainder += parts[..., -1].sum()
        entropy -= (parts * np.log(parts, where=parts > 0, out=np.zeros_like(parts))).sum()
        counts = np.bincount(labels.classes[..., 0].ravel(), minlength=schema.class_count)[: schema.class_count]
        best.update({int(number): int(counts[number]) for number in np.flatnonzero(counts)})
        if targets is not None:
            own = targets[rows.start : rows.stop][kept]
            agreed += int((_picture_class(labels.classes, labels.scores, schema.class_count) == own)[own >= 0].sum())
            judged += int((own >= 0).sum())
    return Statistics(
        pictures=len(store),
        labelled=statuses[Status.LABELLED],
        unlabelled={Status(code).word: n for code, n in sorted(statuses.items()) if code != Status.LABELLED},
        confidence=confidence / max(cells, 1),
        remainder=remainder / max(cells, 1),
        entropy=entropy / max(cells, 1),
        agreement=agreed / judged if judged else None,
        top_classes=tuple((class_name(store, number), n / cells) for number, n in best.most_common(10)),
    )


def _picture_class(classes: np.ndarray, scores: np.ndarray, class_count: int) -> np.ndarray:
    """The class with the most probability over all locations of each picture: int [n]."""
    n = len(classes)
    known = classes < class_count
    flat = (np.arange(n)[:, None, None, None] * class_count + np.where(known, classes, 0)).ravel()
    mass = np.bincount(flat, (scores * known).ravel(), minlength=n * class_count)
    picture: np.ndarray = mass.reshape(n, class_count).argmax(1)
    return picture


def describe(store: LabelStore, figures: Statistics) -> str:
    """The figures as text, a line for each question."""
    schema, recipe = store.schema, store.schema.recipe
    rows = [
        ("pictures", f"{figures.pictures:,}, of which {figures.labelled:,} are labelled"),
        *(("", f"{n:,} {status}") for status, n in figures.unlabelled.items()),
        (
            "each label",
            f"{schema.grid[0]} x {schema.grid[1]} locations, the {schema.k} best of {schema.class_count} classes",
        ),
        *_annotators(store),
        ("looks at", _looks_at(recipe)),
        ("dense head", f"{schema.provenance.get('head', 'not recorded')}: mean over locations against its own answer"),
    ]
    if figures.labelled:
        rows += [
            ("confidence", f"{figures.confidence:.3f}   mean probability of a location's best class"),
            ("remainder", f"{figures.remainder:.3f}   mean probability outside the {schema.k} best"),
            ("entropy", f"{figures.entropy:.3f}   nats, mean over locations"),
        ]
        if figures.agreement is not None:
            rows.append(
                (
                    "agreement",
                    f"{figures.agreement:.3f}   of pictures: the likeliest class overall is the data set's own",
                )
            )
        width = max(len(printable(name)) for name, _ in figures.top_classes)
        longest = figures.top_classes[0][1]
        for n, (name, part) in enumerate(figures.top_classes):
            bar = "█" * max(1, round(24 * part / longest))
            rows.append(("best at" if n == 0 else "", f"{printable(name):{width}}  {100 * part:5.1f} %  {bar}"))
    return "\n".join(f"{name:11} {text}" for name, text in rows)


def _annotators(store: LabelStore) -> list[tuple[str, str]]:
    """A line for each network: its name, its weights and its input."""
    networks = store.schema.recipe.get("networks") or [{"model": annotator_of(store.schema.recipe)}]
    origins = store.schema.provenance.get("networks") or [{}] * len(networks)
    return [
        (
            "" if n else "annotator",
            f"{network['model']} ({origin.get('checkpoint') or network.get('weights', 'weights not recorded')}), "
            f"input {_size(network.get('input_size'))}",
        )
        for n, (network, origin) in enumerate(zip(networks, origins, strict=False))
    ]


def _size(size: Any) -> str:
    return f"{size[0]} x {size[1]} pixels" if isinstance(size, list | tuple) else "not recorded"


def _looks_at(recipe: Mapping[str, Any]) -> str:
    mode = str(recipe.get("preprocess"))
    fitted = {
        "squash": "the whole picture, squashed to the input's shape",
        "letterbox": "the whole picture, padded to the input's shape",
        "center": "the centre of the picture, cropped to the input's shape",
    }.get(mode, mode)
    scales = recipe.get("scales") or [1.0]
    more = [f"at {', '.join(f'{scale:g}' for scale in scales)} times the input"] if len(scales) > 1 else []
    more += ["mirrored, too"] if recipe.get("flip") else []
    return "; ".join([fitted, *more])
