"""Are several scales worth their cost? Fidelity is measured on a sample of the collection without and with them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from annotate.errors import PictureError
from annotate.fidelity.annotator import MOST
from annotate.fidelity.figures import Closeness, Fidelity
from annotate.fidelity.measure import fidelity
from annotate.images.source import ImageSource, Picture, PictureReader
from annotate.jobs.run import run
from annotate.jobs.sample import chosen
from annotate.jobs.workers import LocalWorkers
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from storage import Status, open_store

SCALES = 0.8, 1.0, 1.2
AREA = 0.25  # of the crops: a middling one of RandomResizedCrop's 8 to 100 %
PICTURES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What several scales change.

    scales:        that were compared with the input size alone
    passes:        of the networks, in multiples of those without them
    without, with_scales: how close targets of crops are to the annotator's labels of the crops
    pictures:      how many were compared
    """

    scales: tuple[float, ...]
    passes: float
    without: Closeness
    with_scales: Closeness
    pictures: int

    @property
    def are_worth_it(self) -> bool:
        """Whether the target is closer to the crop's own label by more than both intervals leave open."""
        return self.with_scales.kl_interval[1] < self.without.kl_interval[0]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "scales": list(self.scales),
            "passes": self.passes,
            "without": self.without.to_json(),
            "with": self.with_scales.to_json(),
            "pictures": self.pictures,
            "worth_it": self.are_worth_it,
        }

    def describe(self) -> str:
        """A sentence for the user."""
        scales = ",".join(f"{scale:g}" for scale in self.scales)
        verdict = (
            f"give --scales {scales}, if {self.passes:g} times the networks' work is acceptable"
            if self.are_worth_it
            else f"the intervals overlap, so that {self.passes:g} times the networks' work is not shown to be worth it"
        )
        return (
            f"fidelity of crops of {AREA:.0%} on {self.pictures} pictures: KL {self.without.cells[0]} without scales, "
            f"{self.with_scales.cells[0]} with {scales}; {verdict}"
        )


def worth_of_scales(
    source: ImageSource,
    recipe: Recipe,
    *,
    k: int | None = None,
    pictures: int = PICTURES,
    scales: Sequence[float] = SCALES,
    on_picture: Callable[[int], object] = lambda count: None,
) -> Worth:
    """Label a random sample without and with scales, and compare both with the annotator's labels of crops.

    Each is compared with its own annotator's labels, as a student would be told by either.

    Args:
        source: the collection.
        recipe: the networks; its own scales are not used.
        k: classes to keep.
        pictures: how many are chosen at random.
        scales: to compare with 1.0 alone.
        on_picture: called with 1 after each picture that was compared, twice for each.

    Raises:
        AnnotateError: fewer than two pictures can be read, or the network does not take these scales.
    """
    rows = chosen(range(len(source.keys)), pictures)
    sample = _Sample([source.keys[row] for row in rows], [source.handles[row] for row in rows], source.reader)
    plain, scaled = replace(recipe, scales=(1.0,)), replace(recipe, scales=tuple(scales))
    without, with_scales = (_measured(sample, each, k, on_picture) for each in (plain, scaled))
    return Worth(
        scales=scaled.scales,
        passes=scaled.passes / plain.passes,
        without=without.sizes[0].label,
        with_scales=with_scales.sizes[0].label,
        pictures=min(without.pictures, with_scales.pictures),
    )


def _measured(sample: _Sample, recipe: Recipe, k: int | None, on_picture: Callable[[int], object]) -> Fidelity:
    with tempfile.TemporaryDirectory(prefix="annotate-fidelity-") as folder:
        address = str(Path(folder) / "labels.zarr")
        run(sample, address, recipe, LocalWorkers(), k=k, allow_global=True)
        store = open_store(address)
        annotator = Annotator(
            recipe,
            k=min(MOST, store.schema.class_count),
            device="cuda" if torch.cuda.is_available() else "cpu",
            measured=store.schema.provenance["networks"],
        )
        return fidelity(store, sample.read, annotator, areas=(AREA,), on_picture=on_picture)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Some pictures of a source, as a source."""

    keys: Sequence[str]
    handles: Sequence[Any]
    reader: PictureReader
    targets: None = None
    target_names: None = None
    left_out: int = 0

    def read(self, key: str) -> Picture:
        """A picture by its key."""
        try:
            return self.reader.read(self.handles[self.keys.index(key)])
        except ValueError as error:
            raise PictureError(Status.MISSING, "it is not in the sample") from error
