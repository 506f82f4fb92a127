"""Which pictures probably have a wrong class of their own, and which classes does the annotator not recognise?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotate.class_names import Names
from annotate.errors import AnnotateError
from annotate.inspect.survey import Survey, about_unmatched
from annotate.text import printable
from storage import LabelStore


@dataclass(frozen=True, slots=True)
class Suspect:
    """A picture whose label contradicts its own class.

    own:   its class in the dataset
    label: the most probable class of its label
    area:  fraction of its locations where that class is best, in [0, 1]
    doubt: 1 minus the largest probability of its own class at any location, in [0, 1]
    """

    key: str
    own: str
    label: str
    area: float
    doubt: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Audit:
    """What an audit found.

    pictures: number of labelled pictures with a class of their own that the annotator knows
    suspects: the pictures whose label contradicts their own class most, the worst first
    patterns: own class, label, and number of suspects, for pairs that occur more than once
    flat:     the classes with the lowest confidence: name, mean confidence, locations where the class is best
    unseen:   classes of pictures that are not best at any location
    """

    pictures: int
    suspects: tuple[Suspect, ...]
    patterns: tuple[tuple[str, str, int], ...]
    flat: tuple[tuple[str, float, int], ...]
    unseen: tuple[str, ...]

    def __repr__(self) -> str:
        """The numbers of what was found."""
        return f"Audit({len(self.suspects):,} suspects of {self.pictures:,} pictures)"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "suspects": [
                {"key": one.key, "own": one.own, "label": one.label, "area": one.area, "doubt": one.doubt}
                for one in self.suspects
            ],
            "patterns": [{"own": own, "label": label, "pictures": count} for own, label, count in self.patterns],
            "flat": [{"class": name, "confidence": value, "locations": count} for name, value, count in self.flat],
            "unseen": list(self.unseen),
        }

    def describe(self, shown: int = 20) -> str:
        """The findings as text; of the suspects at most `shown`."""
        lines = [f"of {self.pictures:,} pictures, the {len(self.suspects):,} whose label contradicts their class most:"]
        for one in self.suspects[:shown]:
            lines.append(
                f"  {printable(one.key)}: {printable(one.own)}, but {100 * one.area:.0f} % of it looks like "
                f"{printable(one.label)} (doubt {one.doubt:.3f})"
            )
        if len(self.suspects) > shown:
            lines.append(f"  … and {len(self.suspects) - shown:,} more; --json lists all")
        if self.patterns:
            lines.append("repeated confusions:")
            lines += [
                f"  {count:,} pictures of {printable(own)} look like {printable(label)}"
                for own, label, count in self.patterns[:10]
            ]
        if self.flat:
            lines.append("the annotator is least confident of:")
            lines += [
                f"  {printable(name)}: mean confidence {value:.2f} over {count:,} locations"
                for name, value, count in self.flat
            ]
        if self.unseen:
            lines.append(
                f"never the best class, though pictures have them: {', '.join(map(printable, self.unseen[:20]))}"
            )
        return "\n".join(lines)


def audit(store: LabelStore, found: Survey, names: Names, *, fraction: float = 0.04) -> Audit:
    """Find the pictures to check first.

    Args:
        store: the labels.
        found: a survey of the store.
        names: names of its classes.
        fraction: fraction of the pictures to list, in [0, 1]; at least one picture is listed.

    Raises:
        AnnotateError: nothing is labelled, or no picture has a class of its own that the annotator knows.
    """
    judged = np.flatnonzero(found.labelled & (found.targets >= 0))
    if not found.labelled.any():
        raise AnnotateError(f"cannot audit {store.address}: no picture is labelled yet; `annotate run` labels them")
    if not judged.size:
        raise AnnotateError(
            f"cannot audit {store.address}: {about_unmatched(store, names)}; to compare two stores instead, use "
            "`annotate compare`"
        )
    others = judged[found.best[judged] != found.targets[judged]]
    order = np.argsort(-found.suspicion[others], kind="stable")
    worst = others[order][: max(1, round(fraction * len(judged)))]
    suspects = tuple(
        Suspect(
            key=store.keys[row],
            own=names[int(found.targets[row])],
            label=names[int(found.best[row])],
            area=round(float(found.area[row]), 4),
            doubt=round(float(found.doubt[row]), 4),
        )
        for row in worst.tolist()
    )
    counts = Counter((int(found.targets[row]), int(found.best[row])) for row in worst.tolist())
    patterns = [(names[a], names[b], n) for (a, b), n in counts.most_common() if n > 1]
    seen = np.flatnonzero(found.locations)
    flattest = seen[np.argsort(found.class_confidence[seen], kind="stable")][:5]
    own = np.bincount(found.targets[judged], minlength=len(names))
    return Audit(
        pictures=len(judged),
        suspects=suspects,
        patterns=tuple(patterns),
        flat=tuple((names[n], float(found.class_confidence[n]), int(found.locations[n])) for n in flattest.tolist()),
        unseen=tuple(names[n] for n in np.flatnonzero((own > 0) & (found.locations == 0)).tolist()),
    )
