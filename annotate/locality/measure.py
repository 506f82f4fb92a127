"""Does a location's label depend on its own place? Mosaics of 2x2 pictures show it, without any truth.

This is the grid pointing game [Böhle et al. 2021, arXiv 2104.00032; Rao et al. 2022, arXiv 2205.10435] for labels.
Each tile is also asked alone: in a mosaic of four copies of it. Its answers there say which classes are its own:

    q_j(c)   mean probability of class c over the locations of tile j alone
    w_j(c)   q_j(c) / sum over the four tiles of q(c): how much class c belongs to tile j
    share    sum of p(c) w_j(c) over the locations of tile j / sum of p(c) over them, of classes that any tile has

The locality is the mean share of the tiles in mosaics. A location that sees the whole mosaic has one answer for all
four tiles: 0.25 on average. One that sees only its own place answers as it does alone: 1 where the tiles have no class
in common. Where they have some, or answers are vague, the share alone is below 1 as well; so what decides whether an
annotator is global is how much of it is kept:

    kept = (share in mosaics - 0.25) / (share alone - 0.25)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from annotate.errors import PictureError
from annotate.images.source import ImageSource
from annotate.interval import reach
from annotate.locality.mosaic import TILES, mosaic, tile, tile_of_locations
from storage import LabelMap, Status

if TYPE_CHECKING:  # labels are inspected without timm
    from annotate.model.annotator import Annotator

GLOBAL = 1 / TILES
LEAST = 0.5  # of the share alone, as far as it is above 0.25; below this, `run` asks whether such labels are wanted
_APART = 0.005  # a share alone that is not further above 0.25 says nothing
_MOST, _FEWEST, _ONE_IN = 16, 2, 40  # mosaics; and pictures of a job for each of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One of the mosaics.

    keys:    of its four pictures, in the order of reading
    picture: uint8 [H, W, 3]
    label:   its label
    own:     for each location the share of its probability for the classes of its own tile; NaN where it reaches into
             two tiles, or has only classes that no tile has: float64 [h, w]
    """

    keys: tuple[str, ...]
    picture: NDArray[np.uint8]
    label: LabelMap
    own: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Locality:
    """How local the labels of an annotator are.

    value:    in mosaics of four pictures, the share of a location's probability for the classes of its own: 1 is local,
              0.25 global; None where it was not measured
    interval: 95 % confidence interval of the value over the mosaics; of a single one, over its tiles
    alone:    the same share where a picture is alone; it is below 1 where pictures have classes in common
    kept:     how much of the share alone is left in mosaics, both without 0.25: 1 is local, 0 global; with its interval
    mosaics:  how many there were
    why_not:  why it was not measured
    """

    value: float | None
    interval: tuple[float, float] | None = None
    alone: float | None = None
    kept: tuple[float, float, float] | None = None
    mosaics: int = 0
    why_not: str = ""

    @property
    def is_global(self) -> bool:
        """Whether labels mostly depend on the rest of the picture: all of the interval of `kept` is below `LEAST`."""
        return self.kept is not None and self.kept[2] < LEAST

    def __repr__(self) -> str:
        """The value with its interval, or why there is none."""
        return f"Locality({self})"

    def __str__(self) -> str:
        """Return "0.91 (0.87 to 0.95), alone 0.94", or "not measured: " and the reason."""
        if self.value is None or self.interval is None or self.alone is None:
            return f"not measured: {self.why_not}"
        return f"{self.value:.2f} ({self.interval[0]:.2f} to {self.interval[1]:.2f}), alone {self.alone:.2f}"

    @property
    def sentence(self) -> str:
        """The value as a line of a report, and what follows from it."""
        if self.kept is None:
            return f"locality {self}"
        warning = "; `annotate run` needs --allow-global for such labels" if self.is_global else ""
        return (
            f"locality {self}: the share of each location's label for its own picture, of four; {GLOBAL:g} is global"
            f"{warning}"
        )

    def describe(self) -> str:
        """The figures, as text for the user."""
        if self.value is None or self.interval is None or self.alone is None or self.kept is None:
            return f"locality  {self}"
        (low, high), (kept, least, most) = self.interval, self.kept
        return "\n".join(
            [
                f"locality  {self.value:.3f}   {low:.3f} to {high:.3f}: the share of a location's probability for the "
                "classes of its own picture",
                f"          in {self.mosaics} mosaics of four; {GLOBAL:g} is global; intervals are of 95 %",
                f"alone     {self.alone:.3f}   the same without other pictures",
                f"kept      {kept:.3f}   {least:.3f} to {most:.3f}: what is left in mosaics of the share alone, both "
                f"without {GLOBAL:g};",
                f"          below {LEAST:g}, `annotate run` needs --allow-global",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives it back."""
        return {
            "value": None if self.value is None else round(self.value, 4),
            "interval": None if self.interval is None else [round(edge, 4) for edge in self.interval],
            "alone": None if self.alone is None else round(self.alone, 4),
            "kept": None if self.kept is None else [round(each, 4) for each in self.kept],
            "mosaics": self.mosaics,
            "why_not": self.why_not,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Locality:
        """The locality of `to_json`'s values."""
        tuples = {name: None if values[name] is None else tuple(values[name]) for name in ("interval", "kept")}
        return cls(**{**values, **tuples})

    @classmethod
    def recorded(cls, provenance: Mapping[str, Any]) -> Locality | None:
        """That in the provenance of a store; None where the store does not say it, or in another form."""
        try:
            found = cls.from_json(provenance["locality"])
            str(found), found.sentence  # what cannot be shown has another form
        except (IndexError, KeyError, TypeError, ValueError):
            return None
        return found


def mosaics_for(pictures: int) -> int:
    """How many mosaics are worth their time before a job of so many pictures: 1 in 40, at least 2 and at most 16.

    Each takes as long as five pictures of the job.
    """
    return min(_MOST, max(_FEWEST, pictures // _ONE_IN))


def locality(
    source: ImageSource,
    annotator: Annotator,
    *,
    mosaics: int = _MOST,
    seconds: float = math.inf,
    on_mosaic: Callable[[Example], object] = lambda example: None,
) -> Locality:
    """Measure how local labels are on mosaics of pictures, which are chosen at random, the same ones each time.

    Args:
        source: the pictures.
        annotator: labels the mosaics as it does pictures.
        mosaics: at most so many; fewer where there are too few pictures that can be read, or a mosaic gets no label.
        seconds: no further mosaics are begun after this time.
        on_mosaic: called with each mosaic when it is labelled.
    """
    shares: list[NDArray[np.float64]] = []
    started, readable, refused = time.monotonic(), 0, 0
    pictures = _pictures(source, annotator, TILES * mosaics)
    while len(shares) < mosaics and time.monotonic() - started < seconds:
        four = [*islice(pictures, TILES)]
        readable += len(four)
        if len(four) < TILES:
            break
        try:
            found = _measured(annotator, four)
        except PictureError:  # it says nothing of where labels come from
            refused += 1
            continue
        if found is None:
            h, w = annotator.grid
            return Locality(value=None, why_not=f"with {h}x{w} locations, some tile of a mosaic has none of its own")
        shares.append(found[0])
        on_mosaic(found[1])
    if refused and not shares:
        return Locality(value=None, why_not="the networks gave NaN or infinity for each of the mosaics")
    if not shares:
        return Locality(
            value=None, why_not=f"it takes {TILES} pictures that can be read, and of those chosen only {readable} can"
        )
    return _locality(np.stack(shares))


def _pictures(source: ImageSource, annotator: Annotator, wanted: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Keys and tiles of pictures chosen at random. Of a collection that cannot be read, only some are tried."""
    network, recipe = annotator.recipe.networks[0], annotator.recipe
    rows = np.random.default_rng(0).permutation(len(source.keys))[: 2 * wanted]
    for row in rows.tolist():
        try:
            picture = recipe.decode(source.reader.read(source.handles[row]))
        except PictureError:
            continue
        yield (
            source.keys[row],
            tile(picture, network.input_size, recipe.preprocess, interpolation=network.interpolation),
        )


def _measured(
    annotator: Annotator, pictures: Sequence[tuple[str, NDArray[np.uint8]]]
) -> tuple[NDArray[np.float64], Example] | None:
    """For each tile of a mosaic its share there and alone, float64 [4, 2]; None if a tile has no location.

    Raises:
        PictureError: the mosaic, or a tile alone, has no label.
    """
    keys, tiles = zip(*pictures, strict=True)
    picture = mosaic(tiles)
    labels = annotator([picture, *(mosaic([each] * TILES) for each in tiles)])
    if (labels.status != Status.LABELLED).any():
        raise PictureError(Status.REFUSED, "it has no label")
    label, alone = labels[0], [labels[1 + number] for number in range(TILES)]
    where = tile_of_locations(label.grid, label.box)
    if any(not (where == number).any() for number in range(TILES)):
        return None
    belongs = _belongs([_mean(each, where >= 0, annotator.class_count) for each in alone])
    shares = [
        [_share(each, where == number, belongs, number) for each in (label, alone[number])] for number in range(TILES)
    ]
    return np.array(shares), Example(keys=keys, picture=picture, label=label, own=_own(label, where, belongs))


def _mean(label: LabelMap, chosen: NDArray[np.bool_], class_count: int) -> NDArray[np.float64]:
    """The mean probability of each class over the chosen locations: [classes + 1], 0 for the last, "no class"."""
    classes = np.minimum(label.classes[chosen], class_count).ravel().astype(np.int64)
    mass = np.bincount(classes, label.scores[chosen].ravel(), minlength=class_count + 1) / chosen.sum()
    mass[class_count] = 0
    return mass


def _belongs(means: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """How much each class belongs to each tile: [4, classes + 1], sums of 1, or 0 where no tile has the class."""
    together = np.stack(means)
    total = together.sum(0)
    return np.divide(together, total, out=np.zeros_like(together), where=total > 0)


def _shares(label: LabelMap, belongs: NDArray[np.float64], number: int) -> tuple[NDArray[np.float64], ...]:
    """At each location the probability of a tile's own classes, and that of the classes of any tile: both [h, w]."""
    classes = np.minimum(label.classes, belongs.shape[1] - 1).astype(np.int64)
    return tuple((label.scores * weights[classes]).sum(-1) for weights in (belongs[number], belongs.sum(0)))


def _share(label: LabelMap, chosen: NDArray[np.bool_], belongs: NDArray[np.float64], number: int) -> float:
    """The share of a tile's own classes over the chosen locations; that of a global answer where no class is known."""
    own, known = (each[chosen].sum() for each in _shares(label, belongs, number))
    return float(own / known) if known else GLOBAL


def _own(label: LabelMap, where: NDArray[np.intp], belongs: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.full(label.grid, np.nan)
    for number in range(TILES):
        own, known = _shares(label, belongs, number)
        chosen = (where == number) & (known > 0)
        found[chosen] = own[chosen] / known[chosen]
    return found


def _locality(shares: NDArray[np.float64]) -> Locality:
    """The locality, from the shares of each mosaic's tiles in it and alone: [mosaics, 4, 2]."""
    value, alone = shares.mean((0, 1)).tolist()
    if alone - GLOBAL < _APART:
        why = "alone, too, its answers do not tell the pictures apart"
        return Locality(value=None, why_not=why, mosaics=len(shares))
    kept = (value - GLOBAL) / (alone - GLOBAL)
    # The tiles of a mosaic depend on each other; of a single one there is nothing else.
    beside, single = (shares.mean(1) if len(shares) > 1 else shares[0]).T
    of_value = reach(beside - value)
    # The standard error of a ratio of two means is that of what the ratio leaves unexplained.
    of_kept = reach(beside - GLOBAL - kept * (single - GLOBAL)) / (alone - GLOBAL)
    return Locality(
        value=value,
        interval=(max(0.0, value - of_value), min(1.0, value + of_value)),
        alone=alone,
        kept=(kept, kept - of_kept, kept + of_kept),
        mosaics=len(shares),
    )
