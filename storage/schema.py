"""What do all label maps of a store share? Their Schema, which checks itself and lists how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from storage.errors import FormatError
from storage.json_fields import shown, whole_number
from storage.labelmap import ScoreKind, class_dtype

_SCORE_TYPES = {"probability": ("uint8",), "logit": ("float16", "float32")}
_MISSING = "nothing"
MOST_ROWS = 2**31
_MOST_CLASSES = 2**32 - 1
_MOST_TEXT = 2**23  # bytes of its JSON: escaped and indented in a header, it is at most four times as long
_MOST_BYTES = 2**34  # largest shard in memory: a header that states more is not valid
MOST_BYTES_OF_SHARD = 2 * _MOST_BYTES  # largest object of a shard, where no schema is at hand


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What all maps of a store share.

    grid:           rows and columns of every label map
    k:              classes kept at each location
    class_count:    classes that the annotator knows
    class_names:    their names, or None
    target_names:   the dataset's own class names, by target number, or None
    rows_per_shard: rows that are written, resumed and checked together
    scores:         the kind of scores: "probability", of a softmax over all classes, or "logit", as other tools wrote
                    them: bit-exact, but without information about the classes beyond the k
    score_type:     how a score is stored: "uint8" for probabilities, coded; "float16" or "float32" for logits
    recipe:         everything that decides a label, as JSON; see annotate/model/recipe.py
    provenance:     what else is worth knowing, as JSON. The one field in which two equal schemas may differ.

    Raises:
        ValueError: a field is out of its range.
    """

    grid: tuple[int, int]
    k: int
    class_count: int
    rows_per_shard: int
    class_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    scores: ScoreKind = "probability"
    score_type: str = "uint8"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Check that each field is of its type and in its range."""
        self._check_types()
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"grid must be (rows, columns), each at least 1, not {self.grid}")
        if not 1 <= self.k <= self.class_count:
            raise ValueError(f"k must be between 1 and the {self.class_count} classes of the annotator, not {self.k}")
        if self.rows_per_shard < 1:
            raise ValueError(f"rows_per_shard must be at least 1, not {self.rows_per_shard}")
        if self.class_count > _MOST_CLASSES:
            raise ValueError(f"class_count must be at most {_MOST_CLASSES:,}, not {shown(self.class_count)}")
        if self.class_names is not None and len(self.class_names) != self.class_count:
            raise ValueError(f"{len(self.class_names)} class names were given for {self.class_count} classes")
        if self.score_type not in _SCORE_TYPES.get(self.scores, ()):
            raise ValueError(f"scores must be one of {_SCORE_TYPES}, not {self.scores!r} as {self.score_type!r}")
        row = self.grid[0] * self.grid[1] * self.k * (self.class_dtype.itemsize + self.score_dtype.itemsize)
        if row * self.rows_per_shard > _MOST_BYTES:
            raise ValueError(
                f"a shard of {shown(self.rows_per_shard)} rows of {shown(row)} bytes does not fit into the "
                f"{_MOST_BYTES:,} bytes that a shard may have; use fewer rows_per_shard"
            )
        try:
            size = len(json.dumps(asdict(self), allow_nan=False, ensure_ascii=False).encode())
        except (RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"names, recipe and provenance must be JSON in UTF-8: {error}") from error
        if size > _MOST_TEXT:
            raise ValueError(
                f"names, recipe and provenance have {size:,} bytes; at most {_MOST_TEXT:,} are read. Leave out the "
                "names of classes, or shorten them"
            )

    def _check_types(self) -> None:
        """Check that whole numbers are int, names texts, and recipe and provenance objects."""
        numbers = (*self.grid, self.k, self.class_count, self.rows_per_shard) if isinstance(self.grid, tuple) else ("",)
        if any(type(value) is not int for value in numbers):
            raise ValueError(
                f"grid, k, class_count and rows_per_shard must be whole numbers, not {shown(self.grid)}, "
                f"{shown(self.k)}, {shown(self.class_count)} and {shown(self.rows_per_shard)}"
            )
        for name in ("class_names", "target_names"):
            names = getattr(self, name)
            if names is not None and not (isinstance(names, tuple) and all(isinstance(each, str) for each in names)):
                raise ValueError(f"{name} must be texts, not {shown(names)}")
        for name in ("scores", "score_type"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"{name} must be a text, not {shown(value)}")
        for name in ("recipe", "provenance"):
            if not isinstance(value := getattr(self, name), Mapping):
                raise ValueError(f"{name} must be a JSON object, not {shown(value)}")

    def __repr__(self) -> str:
        """What its labels look like, without names and recipe."""
        h, w = self.grid
        return (
            f"Schema({h} x {w} x {self.k} of {self.class_count:,} classes, {self.scores} as {self.score_type}, "
            f"{self.rows_per_shard:,} rows a shard)"
        )

    @property
    def class_dtype(self) -> np.dtype[np.unsignedinteger]:
        """The type of class ids in this store."""
        return class_dtype(self.class_count)

    @property
    def score_dtype(self) -> np.dtype[Any]:
        """The type of scores as stored."""
        return np.dtype(self.score_type)

    @property
    def keeps_all_classes(self) -> bool:
        """Whether each location has all classes, so that its remainder belongs to none of them."""
        return self.k == self.class_count

    def shards(self, row_count: int) -> list[range]:
        """The rows of each shard of a store of this many rows."""
        step = self.rows_per_shard
        return [range(start, min(start + step, row_count)) for start in range(0, row_count, step)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal schema back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The schema of `to_json`'s values.

        Raises:
            FormatError: the values are not a schema.
        """
        names = {known.name for known in fields(cls)}  # fields that a later version added may be ignored in this format
        try:
            frozen: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
                if name in names
            }
            for name in ("k", "class_count", "rows_per_shard"):
                if isinstance(frozen.get(name), float):
                    frozen[name] = whole_number(frozen, name, 1, _MOST_CLASSES)
            frozen["grid"] = tuple(
                int(side) if isinstance(side, float) and side.is_integer() else side for side in frozen.get("grid", ())
            )
            return cls(**frozen)
        except (TypeError, ValueError) as error:
            raise FormatError(f"cannot read this store: its schema is not valid ({error})") from error

    def differences(self, other: Schema, *, mine: str = "the store", theirs: str = "this run") -> list[str]:
        """One sentence for each field in which `other` differs from this one, each under the name that it is given."""
        ours, others = dict(_leaves(self.to_json())), dict(_leaves(other.to_json()))
        return [
            f"{name}: {mine} has {ours.get(name, _MISSING)}, {theirs} has {others.get(name, _MISSING)}"
            for name in sorted(ours.keys() | others.keys())
            if ours.get(name, _MISSING) != others.get(name, _MISSING)
        ]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every field as ("recipe.networks[0].model", '"resnet50"'), without the provenance."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            if name != "provenance":
                yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield from _leaves({f"{name}[{n}]": item for n, item in enumerate(value)}, prefix)
        else:
            yield prefix + name, json.dumps(value)
