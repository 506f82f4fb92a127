"""Which pictures have a wrong class of their own, by their labels, and which classes does the annotator not know?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotate.errors import AnnotateError
from annotate.inspect.names import Names
from annotate.inspect.survey import Survey
from annotate.printable import printable
from storage import LabelStore


@dataclass(frozen=True, slots=True)
class Suspect:
    """A picture whose label speaks against its own class.

    own, label: its own class, and the one with the most probability by its label
    area:       the part of its locations that are of the latter
    doubt:      1 less the largest probability that its own class has anywhere, in [0, 1]
    """

    key: str
    own: str
    label: str
    area: float
    doubt: float


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found.

    pictures: that could be judged
    suspects: those whose label speaks most against their own class, the worst first
    patterns: own class, label and number of suspects, where it happens more than once
    flat:     classes whose locations are the least certain: name, mean confidence there, locations
    unseen:   classes that pictures have, and that are best nowhere
    """

    pictures: int
    suspects: tuple[Suspect, ...]
    patterns: tuple[tuple[str, str, int], ...]
    flat: tuple[tuple[str, float, int], ...]
    unseen: tuple[str, ...]

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
        """The worst, for a person."""
        lines = [
            f"of {self.pictures:,} pictures, the {len(self.suspects):,} whose label speaks most against their class:"
        ]
        for one in self.suspects[:shown]:
            lines.append(
                f"  {printable(one.key)}: {printable(one.own)}, but {100 * one.area:.0f} % of it looks like "
                f"{printable(one.label)} (doubt {one.doubt:.3f})"
            )
        if len(self.suspects) > shown:
            lines.append(f"  … and {len(self.suspects) - shown:,} more; --json lists all")
        if self.patterns:
            lines.append("the same again and again:")
            lines += [
                f"  {count:,} pictures of {printable(own)} look like {printable(label)}"
                for own, label, count in self.patterns[:10]
            ]
        if self.flat:
            lines.append("the annotator is least sure of:")
            lines += [
                f"  {printable(name)}: mean confidence {value:.2f} over {count:,} locations"
                for name, value, count in self.flat
            ]
        if self.unseen:
            lines.append(f"best nowhere, though pictures have them: {', '.join(map(printable, self.unseen[:20]))}")
        return "\n".join(lines)


def audit(store: LabelStore, found: Survey, names: Names, *, part: float = 0.04) -> Audit:
    """The pictures to look at first.

    Args:
        store, found, names: the labels, a survey of them, and their classes' names.
        part: of the pictures that are listed.

    Raises:
        AnnotateError: the pictures have no classes of their own, or other ones than the annotator.
    """
    judged = np.flatnonzero(found.labelled & (found.targets >= 0))
    if not found.labelled.any():
        raise AnnotateError(f"cannot audit {store.address}: nothing is labelled yet")
    if not judged.size:
        raise AnnotateError(
            f"cannot audit {store.address}: it has no classes of the pictures' own, or they have other names than the "
            "annotator's; `annotate compare` holds two stores against each other"
        )
    others = judged[found.best[judged] != found.targets[judged]]
    order = np.argsort(-found.suspicion[others], kind="stable")
    worst = others[order][: max(1, round(part * len(judged)))]
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
    seen = np.flatnonzero(found.cells)
    flattest = seen[np.argsort(found.class_confidence[seen], kind="stable")][:5]
    own = np.bincount(found.targets[judged], minlength=len(names))
    return Audit(
        pictures=len(judged),
        suspects=suspects,
        patterns=tuple(patterns),
        flat=tuple((names[n], float(found.class_confidence[n]), int(found.cells[n])) for n in flattest.tolist()),
        unseen=tuple(names[n] for n in np.flatnonzero((own > 0) & (found.cells == 0)).tolist()),
    )
