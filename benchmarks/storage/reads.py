"""How fast is a label read from local files, decoded to classes and float32 scores?"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from benchmarks.names import key
from benchmarks.reference import Maps, write_pickles
from benchmarks.rounds import Rows, Timing, take_turns
from benchmarks.storage.copies import fill
from demo.markdown import section
from storage import LabelStore, create_store, open_store
from storage.encoding import scores

ROWS, ROWS_PER_SHARD = 16_384, 1024
BATCH = 256
OURS, PEER = "store.read", "torch.load of a pickle a picture"

Values = tuple[NDArray[Any], NDArray[np.float32]]
Reader = Callable[[Rows], Values]


@dataclass(frozen=True, slots=True)
class Reads:
    """Timings of each reader: rows one by one, and in sorted batches. The store has so many rows."""

    rows: int
    batch: int
    single: list[Timing]
    batched: list[Timing]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "rows": self.rows,
            "batch": self.batch,
            **{
                name: [timing.to_json(_peer(timings)) for timing in timings]
                for name, timings in (("single", self.single), ("batched", self.batched))
            },
        }

    def describe(self) -> str:
        """Two tables."""
        notes = (
            "Medians over {} rounds of {} fresh random rows for each reader, in turns, and in brackets the middle "
            "half of the rounds. Files are in the page cache; torch has one thread."
        )
        titles = (
            f"Random single reads from {self.rows:,} labels",
            f"Sorted batches of {self.batch} from {self.rows:,} labels",
        )
        return "\n".join(
            section(
                title,
                ["", "µs a label", "rate against torch.load", "by processor time"],
                [
                    [
                        timing.name,
                        f"{timing.median * 1e6:,.1f}",
                        str(timing.rate_against(_peer(timings))),
                        str(timing.processor_rate_against(_peer(timings))),
                    ]
                    for timing in sorted(timings, key=lambda timing: timing.median)
                ],
                notes.format(len(timings[0].seconds), self.batch),
            )
            for title, timings in zip(titles, (self.single, self.batched), strict=True)
        )


def measure(folder: Path, *, rows: int = ROWS, rounds: int = 20, batch: int = BATCH) -> Reads:
    """Write a store and pickles of `rows` rows below the folder, and read them."""
    torch.set_num_threads(1)
    maps = Maps.load()
    address, pickles = folder / "labels.zarr", write_pickles(maps, folder / "pickles", rows)
    write_store(maps, address, rows)
    os.sync()  # or it is written back while others read
    rng = np.random.default_rng(0)

    def draw() -> Rows:
        return rng.choice(rows, batch, replace=False)

    single = take_turns(singly(address, pickles), draw, rounds=rounds, of="single reads")
    batched = take_turns(in_batches(address, pickles), lambda: np.sort(draw()), rounds=rounds, of="batches")
    return Reads(rows, batch, single, batched)


def write_store(maps: Maps, address: Path, rows: int) -> LabelStore:
    """A finished store of this many rows: the maps, repeated."""
    step = min(ROWS_PER_SHARD, rows)
    store = create_store(address, maps.schema(step), [key(row, rows) for row in range(rows)])
    fill(store, maps.labels(step))
    return store


def singly(address: Path, pickles: list[Path]) -> dict[str, Reader]:
    """Readers that read the rows one after the other; each gives the values of the last."""
    store = open_store(address)

    def each(read: Callable[[int], Values]) -> Reader:
        def all_rows(rows: Rows) -> Values:
            for row in rows.tolist():
                values = read(row)
            return values

        return all_rows

    def ours(row: int) -> Values:
        label = store[row]
        return label.classes, label.scores

    def unpickle(row: int, **options: bool) -> Any:
        pair = torch.load(pickles[row], **options)
        return pair[1].long(), pair[0].float()

    found = {
        OURS: each(ours),
        PEER: each(unpickle),
        "torch.load, weights_only=False": each(lambda row: unpickle(row, weights_only=False)),
    }
    for name, arrays in _zarr_readers(address).items():
        found[name] = each(lambda row, arrays=arrays: _decoded(*[array[row] for array in arrays]))
    for name, arrays in _tensorstores(address).items():
        found[name] = each(
            lambda row, arrays=arrays: _decoded(
                *[future.result() for future in [array[row].read() for array in arrays]]
            )
        )
    return found


def in_batches(address: Path, pickles: list[Path]) -> dict[str, Reader]:
    """Readers that read all rows at once."""
    store = open_store(address)

    def ours(rows: Rows) -> Values:
        labels = store.read(rows)
        return labels.classes, labels.scores

    def unpickle(rows: Rows, **options: bool) -> Any:
        pairs = torch.stack([torch.load(pickles[row], **options) for row in rows.tolist()])
        return pairs[:, 1].long(), pairs[:, 0].float()

    found: dict[str, Reader] = {
        OURS: ours,
        PEER: unpickle,
        "torch.load, weights_only=False": lambda rows: unpickle(rows, weights_only=False),
    }
    for name, arrays in _zarr_readers(address).items():
        found[name] = lambda rows, arrays=arrays: _decoded(*[array.oindex[rows] for array in arrays])
    for name, arrays in _tensorstores(address).items():
        found[name] = lambda rows, arrays=arrays: _decoded(
            *[future.result() for future in [array[rows].read() for array in arrays]]
        )
    return found


def _decoded(classes: NDArray[Any], codes: NDArray[np.uint8]) -> Values:
    return classes, scores.decode(codes)


def _zarr_readers(address: Path) -> dict[str, list[Any]]:
    """`classes` and `scores` as zarr-python opens them: with its own decoding, and with zarrs where it is installed."""
    pipelines = {"zarr-python": zarr.config.get("codec_pipeline.path")}
    if find_spec("zarrs"):
        pipelines["zarr-python with zarrs"] = "zarrs.ZarrsCodecPipeline"
    found = {}
    for name, pipeline in pipelines.items():
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            group = zarr.open_group(address, mode="r")
            found[name] = [group["classes"], group["scores"]]
    return found


def _tensorstores(address: Path) -> dict[str, list[Any]]:
    """`classes` and `scores` as tensorstore opens them, where it is installed."""
    if not find_spec("tensorstore"):
        return {}
    import tensorstore

    found = {}
    for name, context in (
        ("tensorstore", {}),
        ("tensorstore, 2 MB cache", {"cache_pool": {"total_bytes_limit": 2_000_000}}),
    ):
        found[name] = [
            tensorstore.open(
                {
                    "driver": "zarr3",
                    "kvstore": {"driver": "file", "path": str(address / array)},
                    "recheck_cached_data": "open",
                    "context": context,
                },
                read=True,
            ).result()
            for array in ("classes", "scores")
        ]
    return found


def _peer(timings: list[Timing]) -> Timing:
    return next(timing for timing in timings if timing.name == PEER)
