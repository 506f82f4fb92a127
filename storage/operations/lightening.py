"""How does a store become smaller, and stay one of the same format? By fewer classes, coarser codes, a coarser grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from storage.encoding import coded_labels as coding
from storage.encoding import scores
from storage.encoding.averaged_grid import averaged
from storage.encoding.coarse import coarse_codes
from storage.encoding.coded_labels import CodedLabels
from storage.errors import StoreError
from storage.labelmap import LabelMap, no_class
from storage.operations.progress import OnProgress, Progress, silent
from storage.operations.target import create_target, refuse_own_address
from storage.schema import Schema
from storage.store import LabelStore, put

_ROWS_AT_ONCE = 256  # whose probabilities are in memory as float64 while a grid is averaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Lightness:
    """What a light store keeps of another.

    k:      classes at each location; None for all
    coarse: codes of probabilities are rounded to multiples of this number, 1 to 64; 1 for as they are
    grid:   rows and columns of the grid, averaged over the area of each location; None for the same

    Raises:
        ValueError: a number is out of its range, or nothing is dropped.
    """

    k: int | None = None
    coarse: int = 1
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check that each number is in its range, and that something is dropped."""
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")
        if not 1 <= self.coarse <= 64:
            raise ValueError(f"coarse must be from 1 to 64, not {self.coarse}")
        if self.grid is not None and min(self.grid) < 1:
            raise ValueError(f"grid must be (rows, columns), each at least 1, not {self.grid}")
        if (self.k, self.coarse, self.grid) == (None, 1, None):
            raise ValueError("give k, coarse or grid: otherwise nothing is dropped")

    def schema(self, schema: Schema) -> Schema:
        """The schema of a light store of one of this schema.

        The recipe says what was done to its labels, so that they never mix with others; the provenance what was there.

        Raises:
            ValueError: the store has not as much as is to be kept, or its scores are logits.
        """
        k, grid = self.k or schema.k, self.grid or schema.grid
        if k > schema.k:
            raise ValueError(f"{k} classes at each location are asked for, and it has {schema.k}")
        if grid[0] > schema.grid[0] or grid[1] > schema.grid[1]:
            found, asked = (f"{h} x {w}" for h, w in (schema.grid, grid))
            raise ValueError(f"a grid of {asked} is asked for, and it has {found}; a finer grid cannot be made")
        if schema.scores == "logit" and (self.coarse, grid) != (1, schema.grid):
            raise ValueError("its scores are logits, of which only the number of classes can be reduced")
        done = {"k": k, "coarse": self.coarse, "grid": [*grid]}
        dropped = {
            "k": schema.k,
            "grid": [*schema.grid],
            "what": self._sentence(schema),
        }
        return replace(
            schema,
            k=k,
            grid=grid,
            recipe={**schema.recipe, "light": [*_earlier(schema.recipe, "light"), done]},
            provenance={**schema.provenance, "light_from": [*_earlier(schema.provenance, "light_from"), dropped]},
        )

    def _sentence(self, schema: Schema) -> str:
        """What is dropped of the labels of a store, in words."""
        parts = []
        if self.grid not in (None, schema.grid):
            h, w = schema.grid
            parts.append(f"the grid of {h} x {w} was averaged by area")
        if self.k not in (None, schema.k):
            parts.append(f"of {schema.k} classes the best {self.k} were kept")
        if self.coarse > 1:
            parts.append(f"codes of probabilities were rounded to multiples of {self.coarse}")
        return "; ".join(parts) or "nothing"

    def labels(self, coded: CodedLabels, schema: Schema) -> CodedLabels:
        """The light labels of some rows of a store.

        Args:
            coded: the labels as stored.
            schema: of the store.
        """
        k, grid = self.k or schema.k, self.grid or schema.grid
        if schema.scores == "logit":
            return coded._replace(classes=coded.classes[..., :k], scores=coded.scores[..., :k])
        if (k, grid) != (schema.k, schema.grid):
            full = coding.decode(coded, schema)
            classes, found = full.classes[..., :k], full.scores[..., :k]
            if grid != schema.grid:
                classes, found = averaged(full.classes, full.scores, grid, k)
            fewer = LabelMap.trusted(classes, found, coded.boxes, coded.sizes, coded.status, "probability")
            coded = coding.encode(fewer, schema)
        codes = coarse_codes(coded.scores, self.coarse)
        nothing = coded.classes.dtype.type(no_class(coded.classes.dtype))
        classes = np.where(scores.decode(codes) > 0, coded.classes, nothing)
        return coded._replace(classes=classes, scores=codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lightened:
    """What making a light store did.

    address:       address of the light store
    pictures:      pictures in both stores, labelled or not
    lightened_now: how many of them this call wrote
    pending:       how many of them are still pending, because they are pending in the source
    """

    address: str
    pictures: int
    lightened_now: int
    pending: int

    @property
    def complete(self) -> bool:
        """Whether nothing is pending."""
        return not self.pending

    def describe(self) -> str:
        """What was done, for a person."""
        lines = [f"wrote light labels of {self.lightened_now:,} of {self.pictures:,} pictures to {self.address}"]
        if self.pending:
            lines.append(f"{self.pending:,} pictures are pending in the source; convert again when they are labelled")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"pictures": self.pictures, "lightened_now": self.lightened_now, "pending": self.pending}


def lighten(source: LabelStore, address: str, lightness: Lightness, *, on_progress: OnProgress = silent) -> Lightened:
    """Make a smaller store of the same pictures, of the same format; continue where an earlier call ended.

    Args:
        source: the store.
        address: where the light store is to be made, or an unfinished one exists.
        lightness: what is kept.
        on_progress: called at the beginning and after each shard.

    Raises:
        StoreError: the source has not as much as is to be kept, or the address cannot be used.
        MismatchError: the store at the address is not such a store of the source.
        DamageError: the source is damaged; what was written before stays.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store, open_store
        >>> schema = Schema(grid=(18, 18), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg"])
        ...     light = lighten(source, f"{folder}/light.zarr", Lightness(k=3, coarse=8, grid=(9, 9)))
        ...     open_store(light.address).schema
        Schema(9 x 9 x 3 of 1,000 classes, probability as uint8, 1,024 rows a shard)
    """
    refuse_own_address([source], address)
    try:
        schema = lightness.schema(source.schema)
    except ValueError as error:
        raise StoreError(f"cannot make a light store of {source.address}: {error}") from error
    target = create_target(address, schema, source.keys, source.targets)
    there = target.committed()
    before = done = sum(len(target.rows_of(shard)) for shard in there)
    on_progress(Progress(done, len(source), 0))
    for shard, rows in enumerate(source.shards()):
        if shard in there or (record := source.record(shard)) is None:
            continue
        labels = _light_shard(source, shard, lightness)
        put(target.backend, shard, labels, failures=record.failures, run=_run(record.run))
        done += len(rows)
        on_progress(Progress(done, len(source), 0))
    if done == len(source):
        target.backend.remove_leftovers()
    return Lightened(address=address, pictures=len(source), lightened_now=done - before, pending=len(source) - done)


def _light_shard(source: LabelStore, shard: int, lightness: Lightness) -> CodedLabels:
    """The light labels of a shard, made of a few rows at a time."""
    count = len(source.rows_of(shard))
    parts = [
        lightness.labels(
            source.backend.fetch([(shard, row) for row in range(start, min(start + _ROWS_AT_ONCE, count))]),
            source.schema,
        )
        for start in range(0, count, _ROWS_AT_ONCE)
    ]
    return CodedLabels._make(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    """What the record of a light shard says of its run: when its pictures were labelled."""
    return {"finished": run["finished"]} if "finished" in run else {}


def _earlier(values: Mapping[str, Any], name: str) -> Sequence[Any]:
    """What a recipe or a provenance lists under a name; nothing where it is no list."""
    listed = values.get(name)
    return listed if isinstance(listed, list | tuple) else ()
