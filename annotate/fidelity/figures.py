"""What is said of a store's fidelity? By size of crop, how close targets are to two answers of the annotator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotate.interval import of_fraction, reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How close the targets of crops of one size are to answers on the crops themselves.

    kl:                 mean KL(answer ‖ target), nats; 0 is equal
    kl_interval:        its 95 % interval over the pictures
    agreement:          fraction of crops for which both have the same most probable class
    agreement_interval: its 95 % interval over the pictures
    """

    kl: float
    kl_interval: tuple[float, float]
    agreement: float
    agreement_interval: tuple[float, float]

    @classmethod
    def of(cls, kl: NDArray[np.float64], agrees: NDArray[np.float64]) -> Closeness:
        """Of the means [n] over the crops of each of n pictures, two or more."""
        mean, half, fraction = float(kl.mean()), reach(kl), float(agrees.mean())
        return cls(
            kl=mean,
            kl_interval=(max(0.0, mean - half), mean + half),
            agreement=fraction,
            agreement_interval=of_fraction(fraction, len(agrees)),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kl": round(self.kl, 4),
            "kl_interval": [round(edge, 4) for edge in self.kl_interval],
            "agreement": round(self.agreement, 4),
            "agreement_interval": [round(edge, 4) for edge in self.agreement_interval],
        }

    @property
    def cells(self) -> tuple[str, str]:
        """KL and agreement with their intervals, as text."""
        low, high = self.agreement_interval
        return (
            f"{self.kl:.2f} ({self.kl_interval[0]:.2f} to {self.kl_interval[1]:.2f})",
            f"{self.agreement:.0%} ({low:.0%} to {high:.0%})",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AtSize:
    """Crops of one size.

    area:   of a crop, as a fraction of its picture's
    crops:  how many were compared
    label:  the targets against the annotator's label of the crop itself
    answer: the targets against the network's own answer for the crop, which is one for the whole crop; None where the
            annotator has none
    """

    area: float
    crops: int
    label: Closeness
    answer: Closeness | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        answer = None if self.answer is None else self.answer.to_json()
        return {"area": self.area, "crops": self.crops, "label": self.label.to_json(), "answer": answer}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How far targets of crops that are read from a store are from the annotator's own answers on these crops.

    pictures: how many were compared
    left_out: pictures that were chosen and cannot be read
    outside:  crops of which more than half lies beyond the label: these have no target
    seed:     of the choice of pictures and crops
    sizes:    the figures for each size of crop, ascending
    """

    pictures: int
    left_out: int
    outside: int
    seed: int
    sizes: tuple[AtSize, ...] = field(repr=False)

    def describe(self) -> str:
        """A table, as text for the user."""
        rows = [("area", "KL, nats", "same best class", "KL, nats", "same best class")]
        for each in self.sizes:
            answer = ("", "") if each.answer is None else each.answer.cells
            rows.append((f"{each.area:.0%}", *each.label.cells, *answer))
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        line = "  ".join
        padded = [line(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        first, second = sum(widths[:1]) + 2, sum(widths[1:3]) + 4
        has_answer = any(each.answer is not None for each in self.sizes)
        heads = " " * first + "the crop's own label".ljust(second) + "the network's answer for the crop" * has_answer
        if not has_answer:
            padded[0] = padded[0][: first + second].rstrip()
        about = f"targets of random crops of {self.pictures:,} pictures, read from the store, against:"
        notes = ["intervals are of 95 %, over the pictures; area is that of a crop, of its picture's"]
        notes += [f"{self.left_out:,} pictures could not be read"] * bool(self.left_out)
        notes += [f"{self.outside:,} crops lie mostly beyond their label, and have no target"] * bool(self.outside)
        return "\n".join([about, heads.rstrip(), *padded, *notes])

    def to_json(self) -> Mapping[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "left_out": self.left_out,
            "outside": self.outside,
            "seed": self.seed,
            "sizes": [each.to_json() for each in self.sizes],
        }
