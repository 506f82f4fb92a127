"""How many bytes does a map take, how large is its coding error, and how small could it be?"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

from benchmarks.reference import CLASS_COUNT, PHOTOGRAPHS, Maps, write_store
from benchmarks.storage import entropy
from benchmarks.storage.entropy import Bound
from benchmarks.storage.fidelity import Fidelity
from demo.markdown import section
from storage import Publication, finalize, open_store
from storage.encoding import scores
from storage.labelmap import no_class

_INDEX_ENTRIES = 2 * 16  # of a map's two chunks in their shards


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to store classes and scores: their bytes a map, and the error, if any."""

    name: str
    bytes: float
    fidelity: Fidelity


@dataclass(frozen=True, slots=True)
class Sizes:
    """What was measured. All sizes are bytes a map.

    name:         what the maps are of
    maps:         how many there are
    locations:    of each map
    arrays:       of a finished store, by array
    finalized:    of the whole store after `annotate finalize`
    pickle:       of a pickle
    fidelity:     of what the store gives back
    bound:        of the same codes, see benchmarks/storage/entropy.py
    alternatives: to the store's `classes` and `scores`
    """

    name: str
    maps: int
    locations: int
    arrays: dict[str, float]
    finalized: float
    pickle: float
    fidelity: Fidelity
    bound: Bound
    alternatives: list[Alternative]

    @property
    def finished(self) -> float:
        """All files of the finished store."""
        return sum(self.arrays.values())

    @property
    def kept(self) -> float:
        """Classes and scores in the store."""
        return self.arrays["classes"] + self.arrays["scores"]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "finished": self.finished}

    def describe(self) -> str:
        """Two tables."""
        parts = [[name, f"{size:,.1f}", ""] for name, size in self.arrays.items()]
        wholes = [
            ("finished store, all files", self.finished),
            ("the same, finalized for publication", self.finalized),
            ("pickle", self.pickle),
        ]
        first = section(
            f"Size of {self.maps} {self.name}",
            ["", "bytes a map", "pickle / it"],
            [*parts, *([name, f"{size:,.1f}", f"{self.pickle / size:.2f}"] for name, size in wholes)],
            f"KL divergence of what the store gives back, nats: mean {self.fidelity.mean:.1e}, 99th percentile "
            f"{self.fidelity.percentile_99:.1e}, maximum {self.fidelity.maximum:.1e}. A pickle is what `torch.save` "
            "makes of logits and ids as one float16 tensor.",
        )
        kept = self.kept
        rows = [
            ("classes and scores in the store", kept, self.fidelity.cells()),
            *((one.name, one.bytes, one.fidelity.cells()) for one in self.alternatives),
            ("entropy bound: classes", self.bound.classes, ["", "", ""]),
            ("entropy bound: scores", self.bound.scores, ["", "", ""]),
            ("entropy bound: both", self.bound.total, self.fidelity.cells()),
        ]
        second = section(
            f"Other ways to keep classes and scores of {self.name}",
            ["", "bytes a map", "it / the store's", "KL mean", "99th percentile", "maximum"],
            [[name, f"{size:,.1f}", f"{size / kept:.2f}", *cells] for name, size, cells in rows],
            "Chunks of one map, with their entries in the index. The bound is for the store's own ids and codes under "
            "the model of benchmarks/storage/entropy.py, with neither chunks nor index.",
        )
        return f"{first}\n{second}"


@dataclass(frozen=True, slots=True)
class BothSizes:
    """The sizes of the reference maps, and of maps of real photographs."""

    reference: Sizes
    photographs: Sizes

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: those of the reference maps, and beside them those of the photographs'."""
        return {**self.reference.to_json(), "photographs": self.photographs.to_json()}

    def describe(self) -> str:
        """The tables of both, and one that compares them by location, as their grids differ."""
        both = section(
            "Bytes a location",
            ["", "classes and scores in the store", "entropy bound", "store / bound", "pickle", "pickle / store"],
            [
                [
                    each.name,
                    f"{each.kept / each.locations:.2f}",
                    f"{each.bound.total / each.locations:.2f}",
                    f"{each.kept / each.bound.total:.2f}",
                    f"{each.pickle / each.locations:.1f}",
                    f"{each.pickle / each.kept:.1f}",
                ]
                for each in (self.reference, self.photographs)
            ],
            "Each bound is by the counts of its own maps, half of them for the other half: with few maps, rare answers "
            "are counted badly, and the bound is too large.",
        )
        return f"{self.reference.describe()}\n{self.photographs.describe()}\n{both}"


def measure(folder: Path, count: int | None = None) -> BothSizes:
    """Write the reference maps and those of the photographs, or the first so many of each, below the folder."""
    return BothSizes(
        _measure(folder / "reference", Maps.load(count), "reference maps"),
        _measure(folder / "photographs", Maps.load(count, file=PHOTOGRAPHS), "maps of photographs"),
    )


def _measure(folder: Path, maps: Maps, name: str) -> Sizes:
    address = folder / "labels.zarr"
    store = write_store(maps, address)
    arrays = _by_array(address, len(maps))
    coded = store.backend.fetch([divmod(row, store.schema.rows_per_shard) for row in range(len(maps))])
    decoded = open_store(address).read(range(len(maps)))
    finalize(store, Publication(name=name, source="a benchmark", licence="Apache-2.0"))
    return Sizes(
        name=name,
        maps=len(maps),
        locations=maps.classes.shape[1] * maps.classes.shape[2],
        arrays=arrays,
        finalized=sum(_by_array(address, len(maps)).values()),
        pickle=sum(map(_pickled, maps.pickled)) / len(maps),
        fidelity=Fidelity.of(maps.probabilities, decoded.scores),
        bound=entropy.bound(coded.classes, coded.scores, CLASS_COUNT),
        alternatives=_alternatives(maps, coded.classes, coded.scores),
    )


def _by_array(address: Path, count: int) -> dict[str, float]:
    """Bytes a map in the chunks of each array, in metadata, and in what else lies there."""
    found: Counter[str] = Counter()
    for path in sorted(address.rglob("*")):
        if path.is_file():
            name, chunks, _ = path.relative_to(address).as_posix().partition("/c/")
            found[name if chunks else "metadata" if path.name == "zarr.json" else name] += path.stat().st_size
    return {name: size / count for name, size in found.most_common()}


def _pickled(tensor: NDArray[np.float16]) -> int:
    """Bytes of a pickle in memory; a file also contains its own name, several times."""
    buffer = io.BytesIO()
    torch.save(torch.from_numpy(tensor).clone(), buffer)
    return len(buffer.getvalue())


def _alternatives(maps: Maps, classes: NDArray[Any], codes: NDArray[np.uint8]) -> list[Alternative]:
    kept = Fidelity.of(maps.probabilities, scores.decode(codes))
    found = [
        Alternative(f"the same, zstd level {level}", _packed(level, classes, codes), kept) for level in (1, 3, 9, 19)
    ]
    rank_first = (np.ascontiguousarray(np.moveaxis(array, -1, 1)) for array in (classes, codes))
    found.append(Alternative("the same, rank before rows and columns, level 9", _packed(9, *rank_first), kept))
    linear = np.rint(255 * maps.probabilities).astype(np.uint8)
    half = maps.probabilities.astype(np.float16)
    for name, values, decoded in (
        ("round(255 p), level 9", linear, linear / np.float32(255)),
        ("float16 probabilities, level 9", half, half.astype(np.float32)),
        ("float32 probabilities, level 9", maps.probabilities, maps.probabilities),
    ):
        ids = np.where(values > 0, maps.classes, no_class(maps.classes.dtype))
        found.append(Alternative(name, _packed(9, ids, values), Fidelity.of(maps.probabilities, decoded)))
    return found


def _packed(level: int, *arrays: NDArray[Any]) -> float:
    """Bytes a map of arrays [n, ...], in a zstd frame for each map and array."""
    compress = zstandard.ZstdCompressor(level=level, write_checksum=True).compress
    frames = sum(len(compress(one.tobytes())) for array in arrays for one in array)
    return frames / len(arrays[0]) + _INDEX_ENTRIES
