"""From which cosine on does a location show a vocabulary's names? From one that leaves a given fraction to no name.

An encoder gives each location a cosine with each name. The threshold t is the cosine of a background without a name:

    t = the quantile `share`, over the locations of a random sample, of the cosine of the best name

so that for this fraction of the collection's locations the background is more probable than every name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from annotate.errors import AnnotateError
from annotate.images.source import ImageSource
from annotate.jobs.sample import batches, chosen
from annotate.model.annotator import Annotator

_ROUNDING = 0.01  # by how much a cosine may be above 1, as bfloat16 has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A threshold, and what it was fitted on.

    threshold: the cosine, -1 to 1
    share:     of the locations that are below it
    pictures:  how many were asked
    spread:    of the best name's cosine: its 5th, 50th and 95th percentile
    """

    threshold: float
    share: float
    pictures: int
    spread: tuple[float, float, float]

    def describe(self) -> str:
        """The figures, as text for the user."""
        low, middle, high = self.spread
        return (
            f"threshold  {self.threshold:.4f}: the best name of {self.share:.0%} of the locations of {self.pictures:,} "
            f"pictures has a lower cosine\n"
            f"cosines    of the best name at a location: median {middle:.4f}, {low:.4f} to {high:.4f} for 90 % of them"
        )

    def to_toml(self) -> str:
        """The threshold as settings for `annotate run --config`, with the figures as comments."""
        comment = "".join(f"# {line}\n" for line in self.describe().splitlines())
        return f"{comment}threshold = {self.threshold:.6f}\n"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "threshold": self.threshold,
            "share": self.share,
            "pictures": self.pictures,
            "spread": list(self.spread),
        }


def background(
    source: ImageSource,
    annotator: Annotator,
    share: float,
    *,
    count: int = 2000,
    batch_size: int = 32,
    on_pictures: Callable[[int], None] = lambda pictures: None,
) -> Background:
    """Fit the threshold on pictures, of which nothing needs to be known.

    Args:
        source: the collection.
        annotator: one encoder with a vocabulary; the background that it has makes no difference.
        share: the fraction of locations that shall have the background as their most probable class, 0 to 1.
        count: number of pictures to use, chosen at random, the same ones each time.
        batch_size: pictures in one forward pass.
        on_pictures: called with the number of pictures after each batch.

    Raises:
        AnnotateError: the annotator is no encoder with a vocabulary, no picture can be read, or no cosine does it.
    """
    scales = [about.get("scale") for about in annotator.provenance]
    if len(scales) != 1 or scales[0] is None:
        raise AnnotateError(
            "a background is fitted for one encoder with a vocabulary: give one --model hf:NAME and --vocabulary FILE"
        )
    best, used = [], 0
    for batch in batches(source, chosen(range(len(source.keys)), count), annotator.recipe, batch_size):
        if batch.pictures:
            names = slice(annotator.class_count)
            logits = [values[..., names].amax(-1).flatten() for values in annotator.location_logits(batch.pictures)]
            best.append(torch.cat(logits).cpu())
            used += len(batch.pictures)
        on_pictures(batch.asked)
    cosines = (torch.cat([torch.zeros(0), *best]).double() - annotator.provenance[0]["bias"]) / scales[0]
    cosines = cosines[cosines.isfinite()].sort().values
    if not len(cosines):
        raise AnnotateError(
            "cannot fit a background: none of the chosen pictures can be read and has a finite answer; check the "
            "collection, or give more with --count"
        )
    threshold, *spread = (_quantile(cosines, each) for each in (share, 0.05, 0.5, 0.95))
    low, middle, high = spread
    if abs(threshold) > 1 + _ROUNDING:
        raise AnnotateError(
            f"no threshold leaves {share:.0%} of the locations to no name: it would be {threshold:.2f}, and a cosine "
            "is from -1 to 1. With --head frozen a location's answers are on the scale of the whole picture: give "
            "--head local"
        )
    return Background(threshold=max(-1.0, min(1.0, threshold)), share=share, pictures=used, spread=(low, middle, high))


def _quantile(ordered: torch.Tensor, share: float) -> float:
    """Of values in order: torch's own quantile refuses many."""
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])
