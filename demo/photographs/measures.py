"""Do the labels name the object, and at the right locations? Three figures, and what random labels would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotate.class_names import Names
from demo.photographs.collection import Photograph
from storage import LabelMap, LabelStore

_FINE = 16  # points along each side of a location, to measure how much of it lies in a box


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How a store labels the photographs.

    count:    number of photographs
    named:    number whose class has the largest probability, summed over all locations
    pointed:  number where the centre of the class's most probable location lies in a box: the pointing game
    mass:     the fraction of the class's probability that lies in the boxes, mean over the photographs; 0 where no
              location has the class among those that it stores
    """

    count: int
    named: int
    pointed: int
    mass: float


def measure(store: LabelStore, known: Sequence[Photograph]) -> Measured:
    """Compare the labels of the photographs with what a person sees."""
    names = Names.of(store)
    labels = store.read([store.find(each.key) for each in known])
    named, pointed, masses = 0, 0, []
    for n, photograph in enumerate(known):
        number, label = names.number(photograph.class_name), labels[n]
        named += answer(label) == number
        of_class = probability(label, number)
        total = float(of_class.sum())
        inside = covered(photograph, label)
        pointed += bool(total and inside[1][np.unravel_index(of_class.argmax(), label.grid)])
        masses.append(float((of_class * inside[0]).sum()) / total if total else 0.0)
    return Measured(count=len(known), named=named, pointed=pointed, mass=float(np.mean(masses)))


def by_chance(known: Sequence[Photograph]) -> Measured:
    """What random classes and random locations would give, by the area of the boxes."""
    area = float(np.mean([each.area for each in known]))
    return Measured(count=len(known), named=0, pointed=round(area * len(known)), mass=area)


def answer(label: LabelMap) -> int:
    """The class with the largest probability, summed over all locations."""
    classes, where = np.unique(label.classes, return_inverse=True)
    return int(classes[np.bincount(where.ravel(), weights=label.scores.ravel()).argmax()])


def probability(label: LabelMap, number: int) -> np.ndarray:
    """The probability of one class at each location, 0 where it is not among those stored: [h, w]."""
    return np.where(label.classes == number, label.scores, 0).sum(-1)


def covered(photograph: Photograph, label: LabelMap) -> tuple[np.ndarray, np.ndarray]:
    """For each location, the fraction inside the boxes, and whether its centre is inside: both [h, w]."""
    (h, w), box = label.grid, label.box

    def points(each: int) -> np.ndarray:
        y = box.top + box.height * (np.arange(h * each) + 0.5) / (h * each)
        x = box.left + box.width * (np.arange(w * each) + 0.5) / (w * each)
        return photograph.contains(*np.meshgrid(y, x, indexing="ij"))

    return points(_FINE).reshape(h, _FINE, w, _FINE).mean((1, 3)), points(1)
