"""Which figures describe the labels of a store? A summary of a survey, as values and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotate.class_names import Names
from annotate.inspect.survey import Survey
from annotate.locality import Locality
from annotate.model.recipe import annotator_of, networks_of
from annotate.text import printable
from storage import KeyedFailure, LabelStore, Schema, Status

_SHOWN = 5  # pictures without a label that are named


@dataclass(frozen=True, kw_only=True, repr=False)
class Statistics:
    """Figures over all labelled pictures of a store.

    pictures:    number of rows of the store
    labelled:    number of rows with a label
    unlabelled:  number of rows by status for all other rows, "pending" included
    covered:     mean fraction of a picture that its label covers
    confidence:  mean probability of the best class of a location
    remainder:   mean probability outside the k classes of a location
    entropy:     mean entropy of a location, nats: the most that its label allows, with the remainder spread evenly
                 over the classes that it does not name
    agreement:   fraction of pictures whose most probable class over all locations is the dataset's own, or None where
                 the two do not share class names
    confused:    the most frequent differences: the dataset's own class, the label's class, number of pictures
    top_classes: the classes that are best at most locations, each with its fraction of all locations
    failures:    the first pictures without a label: key, status, reason
    locality:    how far labels depend on their own location alone; None where the store does not say
    """

    pictures: int
    labelled: int
    unlabelled: dict[str, int]
    covered: float
    confidence: float
    remainder: float
    entropy: float
    agreement: float | None
    confused: tuple[tuple[str, str, int], ...]
    top_classes: tuple[tuple[str, float], ...]
    failures: tuple[KeyedFailure, ...]
    locality: Locality | None = None

    def __repr__(self) -> str:
        """The main figures."""
        return f"Statistics({self.labelled:,} of {self.pictures:,} pictures labelled, confidence={self.confidence:.3f})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "labelled": self.labelled,
            "unlabelled": self.unlabelled,
            "covered": self.covered,
            "confidence": self.confidence,
            "remainder": self.remainder,
            "entropy": self.entropy,
            "agreement": self.agreement,
            "confused": [{"own": own, "label": label, "pictures": count} for own, label, count in self.confused],
            "top_classes": [{"class": name, "part": part} for name, part in self.top_classes],
            "failures": [failure.to_json() for failure in self.failures],
            "locality": None if self.locality is None else self.locality.to_json(),
        }


def statistics(store: LabelStore, found: Survey, names: Names) -> Statistics:
    """The figures of a survey of this store."""
    locations = int(found.locations.sum())

    def mean(values: NDArray[np.float32]) -> float:
        return float(values[found.labelled].mean(dtype=np.float64)) if found.labelled.any() else 0.0

    return Statistics(
        pictures=len(store),
        labelled=found.statuses[Status.LABELLED],
        unlabelled={Status(code).word: n for code, n in sorted(found.statuses.items()) if code != Status.LABELLED},
        covered=found.covered,
        confidence=mean(found.confidence),
        remainder=mean(found.remainder),
        entropy=mean(found.entropy),
        agreement=found.agreement,
        confused=tuple((names[a], names[b], count) for (a, b), count in found.confused.most_common(5)),
        top_classes=tuple(
            (names[number], float(found.locations[number] / locations))
            for number in np.argsort(-found.locations, kind="stable")[:10].tolist()
            if found.locations[number]
        ),
        failures=tuple(islice(_failures(store), _SHOWN)),
        locality=Locality.recorded(store.schema.provenance),
    )


def _failures(store: LabelStore) -> Iterator[KeyedFailure]:
    for _, record in store.records():
        for failure in record.failures if record else ():
            yield KeyedFailure(store.keys[failure.row], failure.status.word, failure.reason)


def _outside(schema: Schema) -> str:
    """What has the remainder: the classes that are not stored, or what belongs to no class."""
    return f"of none of the {schema.k} classes" if schema.keeps_all_classes else f"outside the {schema.k} best"


def describe(store: LabelStore, figures: Statistics) -> str:
    """The figures as text, one line for each; docs/inspect.md explains them."""
    schema, recipe = store.schema, store.schema.recipe
    rows = [
        ("pictures", f"{figures.pictures:,}, of which {figures.labelled:,} are labelled"),
        *(("", f"{n:,} {status}") for status, n in figures.unlabelled.items()),
        (
            "each label",
            f"{schema.grid[0]} x {schema.grid[1]} locations, the {schema.k} best of {schema.class_count} classes",
        ),
        *_annotators(store),
        ("input shows", _fitting(recipe)),
        *([("", f"{100 * figures.covered:.0f} % of a picture is covered by its label")] if figures.labelled else []),
        (
            "dense head",
            f"{_heads(schema.provenance.get('head'))}: mean over locations against the network's answer",
        ),
        ("locality", _local(figures.locality)),
    ]
    if figures.labelled:
        rows += [
            ("confidence", f"{figures.confidence:.3f}   mean probability of a location's best class"),
            ("remainder", f"{figures.remainder:.3f}   mean probability {_outside(schema)}"),
            (
                "entropy",
                f"{figures.entropy:.3f}   nats, mean over locations: the most that the labels allow; all classes alike "
                f"would be {np.log(schema.class_count):.2f}",
            ),
        ]
        if figures.agreement is not None:
            rows.append(
                (
                    "agreement",
                    f"{figures.agreement:.3f}   of pictures: the most probable class overall is the dataset's own",
                )
            )
        for n, (own, label, count) in enumerate(figures.confused):
            text = f"{count:,} pictures of {printable(own)} are mostly labelled {printable(label)}"
            rows.append(("confused" if n == 0 else "", text))
        width = max(len(printable(name)) for name, _ in figures.top_classes)
        longest = figures.top_classes[0][1]
        for n, (name, part) in enumerate(figures.top_classes):
            bar = "█" * max(1, round(24 * part / longest))
            rows.append(("best at" if n == 0 else "", f"{printable(name):{width}}  {100 * part:5.1f} %  {bar}"))
    for n, (key, word, why) in enumerate(figures.failures):
        rows.append(("no label" if n == 0 else "", f"{printable(key)}: {word}, {printable(why)}"))
    if figures.unlabelled.get("pending"):
        rows.append(("unfinished", "these figures cover the finished shards only; `annotate run` labels the rest"))
    return "\n".join(f"{name:11} {printable(text)}" for name, text in rows)


def _annotators(store: LabelStore) -> list[tuple[str, str]]:
    """One line for each network: its name, weights and input size."""
    networks = networks_of(store.schema.recipe) or [{"model": annotator_of(store.schema.recipe)}]
    known = store.schema.provenance.get("networks")
    known = known if isinstance(known, list | tuple) and len(known) == len(networks) else [{}] * len(networks)
    origins = [each if isinstance(each, Mapping) else {} for each in known]
    return [
        (
            "" if n else "annotator",
            f"{network.get('model')} ({origin.get('checkpoint') or network.get('weights', 'weights not recorded')}), "
            f"input {_size(network.get('input_size'))}",
        )
        for n, (network, origin) in enumerate(zip(networks, origins, strict=False))
    ]


def _local(found: Locality | None) -> str:
    if found is None or found.value is None:
        return "not recorded" if found is None else str(found)
    return f"{found}: the share of a location for its own picture, of four put into one; 0.25 is global"


def _size(size: Any) -> str:
    known = isinstance(size, list | tuple) and len(size) == 2
    return f"{size[0]} x {size[1]} pixels" if known else "not recorded"


def _fitting(recipe: Mapping[str, Any]) -> str:
    mode = str(recipe.get("preprocess", "not recorded"))
    fitted = {
        "squash": "the whole picture, squashed to the input's shape",
        "letterbox": "the whole picture, padded to the input's shape",
        "center": "the centre of the picture, cropped to the input's shape",
    }.get(mode, mode)
    scales = recipe.get("scales")
    scales = [scale for scale in scales if isinstance(scale, int | float)] if isinstance(scales, list | tuple) else []
    more = [f"at {', '.join(f'{scale:g}' for scale in scales)} times the input"] if len(scales) > 1 else []
    more += ["also mirrored"] if recipe.get("flip") else []
    return "; ".join([fitted, *more])


def _heads(stored: object) -> str:
    """The dense heads of an ensemble, each kind once: "exact for 2 networks, approximate (7 %) for 1 network"."""
    if stored is None:
        return "not recorded"
    kinds = Counter(str(stored).split(", "))
    if kinds.total() == 1:
        return str(stored)
    return ", ".join(f"{kind} for {count} network{'s' * (count > 1)}" for kind, count in kinds.items())
