"""What does the label of a training picture cost, from the store to the batch, and in the loss?"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm.data
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.ops import roi_align

from benchmarks.reference import CLASS_COUNT, Maps, write_pickles
from benchmarks.rounds import Rows, Timing, take_turns
from benchmarks.storage.reads import write_store
from demo.markdown import section
from storage import LabelMap, LabelStore, Schema, create_store, open_store
from storage.encoding import coded_labels as coding
from tokenlabel import TokenTargets, View, collate, random_view, token_label_loss, token_targets
from tokenlabel.dataset import Example
from tokenlabel.targets.align_numba import published_targets

ROWS, BATCH, TOKENS, KEEP = 16_384, 64, (14, 14), 8
POSITIONS = 1 + TOKENS[0] * TOKENS[1]
SIZE = (375, 500)
PEER = "published method, dense [1000, 197]"
SAME = "ours with the method's softmax, sparse"
OURS = "ours, sparse"
DENSE, SPARSE = "dense targets", "sparse targets"


@dataclass(frozen=True, slots=True)
class Training:
    """Timings of each way from files to targets and of each loss, ms of each step, and bytes of a batch of 128."""

    targets: list[Timing]
    losses: dict[int, list[Timing]]
    steps: dict[str, float]
    bytes_sparse: int
    bytes_dense: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "targets": [timing.to_json(self.targets[0]) for timing in self.targets],
            "losses": {str(count): [t.to_json(timings[0]) for t in timings] for count, timings in self.losses.items()},
            "steps_ms": self.steps,
            "bytes": {"sparse": self.bytes_sparse, "dense": self.bytes_dense},
        }

    def describe(self) -> str:
        """Three tables."""
        peer = self.targets[0]
        picture = self.steps["picture: decode"] + self.steps["picture: crop, resize, RandAugment"]
        label = self.steps["label: read"] + self.steps["label: decode"] + self.steps["label: align, choose"]
        return "\n".join(
            [
                section(
                    f"Read, decode and align a label for {TOKENS[0]}x{TOKENS[1]} tokens and the picture",
                    ["", "µs a picture", "rate against the method"],
                    [[one.name, f"{one.median * 1e6:,.0f}", str(one.rate_against(peer))] for one in self.targets],
                    f"Medians over {len(peer.seconds)} rounds of {BATCH} random crops each, in turns, and in brackets "
                    "the middle half of the rounds; one thread, files in the page cache. The method unpickles, fills "
                    "maps [1000, 18, 18], aligns and takes the softmax; the second row gives the same numbers, of "
                    f"which it keeps {KEEP} classes a token.",
                ),
                section(
                    "Where the time of a training picture goes",
                    ["", "ms a picture"],
                    [[name, f"{ms:.3f}"] for name, ms in self.steps.items()],
                    f"One thread. A label takes {100 * label / picture:.1f} % of its picture's time. From host to "
                    f"device, targets of 128 pictures are {self.bytes_sparse / 1e6:.1f} MB; the method's are "
                    f"{self.bytes_dense / 1e6:.0f} MB, made of 166 MB of label maps.",
                ),
                *(
                    section(
                        f"The loss of {BATCH} pictures, {POSITIONS} positions, {count:,} classes, forward and backward",
                        ["", "ms", "rate against dense"],
                        [[one.name, f"{one.median * 1e3:,.1f}", str(one.rate_against(timings[0]))] for one in timings],
                        "The same numbers to rounding. The making of the dense targets is not counted.",
                    )
                    for count, timings in self.losses.items()
                ),
            ]
        )


def measure(folder: Path, *, rows: int = ROWS, rounds: int = 12, classes: tuple[int, ...] = (1000, 21_841)) -> Training:
    """Write stores and pickles of `rows` rows below the folder, and make targets from them."""
    torch.set_num_threads(1)
    maps = Maps.load()
    pickles = write_pickles(maps, folder / "pickles", rows)
    store = open_store(write_store(maps, folder / "labels.zarr", rows).address)
    logits = _logit_store(maps, folder / "logits.zarr", rows)
    rng = np.random.default_rng(0)

    drawn = [random_view(rng, SIZE) for _ in range(64 * BATCH)]  # beforehand: drawing takes as long as reading them

    def views() -> list[View]:
        start = int(rng.integers(len(drawn) - BATCH))
        return drawn[start : start + BATCH]

    def same(chosen: Rows) -> object:
        return published_targets(logits.read(chosen), views(), TOKENS, KEEP, class_count=CLASS_COUNT)

    ways = {
        PEER: lambda chosen: published([pickles[row] for row in chosen.tolist()], views()),
        SAME: same,
        OURS: lambda chosen: token_targets(store.read(chosen), views(), TOKENS, keep=KEEP),
    }
    timings = take_turns(ways, lambda: np.sort(rng.choice(rows, BATCH, False)), rounds=rounds, of="targets")
    sparse = token_targets(store.read(np.arange(min(128, rows))), [View.whole()] * min(128, rows), TOKENS, keep=KEEP)
    return Training(
        targets=timings,
        losses={count: _losses(sparse[:BATCH], count, max(2, rounds // 4)) for count in classes},
        steps=_steps(store, rng, views),
        bytes_sparse=sum(t.nbytes for t in (sparse.classes, sparse.probabilities, sparse.outside)) * 128 // len(sparse),
        bytes_dense=128 * POSITIONS * CLASS_COUNT * 4,
    )


def published(paths: list[Path], views: list[View]) -> torch.Tensor:
    """The published method's targets from its pickles, in our own implementation: dense [b, C, 197]."""
    pairs = torch.stack([torch.load(path) for path in paths])
    dense = torch.zeros(len(paths), CLASS_COUNT, *pairs.shape[-2:])
    dense.scatter_(1, pairs[:, 1].long(), pairs[:, 0].float())
    edges = np.array([view.box.edges for view in views])[:, [1, 0, 3, 2]] * pairs.shape[-1] - 0.5
    rois = torch.from_numpy(np.concatenate([np.arange(len(paths))[:, None], edges], 1)).float()
    pooled = [roi_align(dense, rois, grid, sampling_ratio=-1, aligned=False).softmax(1) for grid in ((1, 1), TOKENS)]
    return torch.cat([part.flatten(2) for part in pooled], 2)


def _logit_store(maps: Maps, address: Path, rows: int) -> LabelStore:
    """A store of the pickles' own logits."""
    step = min(1024, rows)
    schema = Schema(
        grid=maps.classes.shape[1:3],
        k=maps.classes.shape[3],
        class_count=CLASS_COUNT,
        rows_per_shard=step,
        scores="logit",
        score_type="float16",
    )
    store = create_store(address, schema, [f"{row:07}" for row in range(rows)])
    known = maps.labels(len(maps.classes))
    logits = np.ascontiguousarray(np.moveaxis(maps.pickled[:, 0], 1, -1))
    for shard in store.shards():
        chosen = np.arange(shard.start, shard.stop) % len(logits)
        parts = (known.classes, logits, known.boxes, known.sizes, known.status)
        store.write(shard, LabelMap(*(part[chosen] for part in parts), kind="logit"))
    return store


def _losses(targets: TokenTargets, count: int, rounds: int) -> list[Timing]:
    """Forward and backward with dense and with sparse targets, of the same logits; [0] is dense."""
    torch.manual_seed(0)
    few = max(2, len(targets) * 1000 // max(count, 1000))  # so that dense targets of many classes fit into memory
    targets = targets[:few]
    picture = torch.randn(few, count, requires_grad=True)
    tokens = torch.randn(few, POSITIONS - 1, count, requires_grad=True)
    dense = dense_of(targets, count)

    def by_dense(_: Rows) -> None:
        torch.autograd.grad(dense_loss(picture, tokens, dense), (picture, tokens))

    def by_sparse(_: Rows) -> None:
        torch.autograd.grad(token_label_loss(picture, tokens, targets), (picture, tokens))

    return take_turns(
        {DENSE: by_dense, SPARSE: by_sparse}, lambda: np.arange(1), rounds=rounds, of=f"losses of {count}"
    )


def dense_loss(picture: torch.Tensor, tokens: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    """`token_label_loss` with dense targets [b, 1 + t, C]."""
    likely = [torch.log_softmax(logits.float(), -1) for logits in (picture, tokens)]
    return -(dense[:, 0] * likely[0]).sum(-1).mean() - 0.5 * (dense[:, 1:] * likely[1]).sum(-1).mean()


def dense_of(targets: TokenTargets, count: int) -> torch.Tensor:
    """The same targets as a distribution over all classes: float32 [b, 1 + t, C]."""
    rest = (1 - targets.probabilities.sum(-1, keepdim=True)) / (
        count - (targets.probabilities > 0).sum(-1, keepdim=True)
    )
    dense = rest.expand(*targets.outside.shape, count).clone()
    named = targets.probabilities > 0
    index = targets.classes.long()
    kept = torch.where(named, targets.probabilities, dense.gather(-1, index))
    return dense.scatter(-1, index, kept)


def _steps(store: LabelStore, rng: np.random.Generator, views: Callable[[], list[View]]) -> dict[str, float]:
    """Milliseconds a picture of each step, the median of some batches."""
    photograph = Image.fromarray(load_sample_images().images[0][: SIZE[0], : SIZE[1]])
    file = io.BytesIO()
    photograph.save(file, "JPEG", quality=90)
    transform = timm.data.create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-mmax9-inc1")
    taken: dict[str, list[float]] = {}

    def clock(name: str, do: Callable[[], Any], count: int) -> Any:
        started = time.perf_counter()
        made = do()
        taken.setdefault(name, []).append((time.perf_counter() - started) * 1000 / count)
        return made

    for _ in range(8):
        rows = np.sort(rng.choice(len(store), BATCH, False)).tolist()
        chosen = [divmod(row, store.schema.rows_per_shard) for row in rows]
        coded = clock("label: read", lambda chosen=chosen: store.backend.fetch(chosen), BATCH)
        label = clock("label: decode", lambda coded=coded: coding.decode(coded, store.schema), BATCH)
        cut = views()
        targets = clock(
            "label: align, choose", lambda label=label, cut=cut: token_targets(label, cut, TOKENS, keep=KEEP), BATCH
        )
        examples = [Example(torch.zeros(1), targets[n], torch.tensor(0)) for n in range(BATCH)]
        clock("label: collate", lambda examples=examples: collate(examples), BATCH)
        picture = clock("picture: decode", lambda: Image.open(file).convert("RGB"), 1)
        clock("picture: crop, resize, RandAugment", lambda picture=picture: transform(picture), 1)
    return {name: float(np.median(values)) for name, values in taken.items()}
