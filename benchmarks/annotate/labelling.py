"""Which fraction of a network's speed is left when it labels a folder of JPEG files into a store, through Ray?"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torchvision import transforms
from tqdm import tqdm

from annotate.cluster.ray_workers import RayWorkers
from annotate.images import FolderImages
from annotate.images.decode import decode
from annotate.jobs.execution import Execution
from annotate.jobs.labelling.label_job import LabelJob, one_thread
from annotate.jobs.labelling.shard import Shard
from annotate.model.annotator import Annotator
from annotate.model.compilation import compiled
from annotate.model.network import Network
from annotate.model.recipe import Recipe
from benchmarks.annotate.team import WORKERS, Do, team
from benchmarks.rounds import Ratio
from demo.markdown import section
from storage import LabelMap, Record, Schema, create_store
from storage.encoding import coded_labels as coding

NETWORKS = {"resnet18": 224, "resnet50": 288}
PICTURES, SIZE = 96, (375, 500)
BATCH, ROWS_PER_SHARD = 16, 32
SHARDS_OF_A_WORKER = 5
BARE, PUBLISHED = "the bare compiled network, on tensors", "PIL, float pixels, eager network, a pickle a picture"
OURS = "annotate run"
STEPS = ("decode", "resize", "forward", "top-k", "code", "write")


@dataclass(frozen=True, slots=True)
class Labelling:
    """By network: its input size, pictures a second of each way and round, and milliseconds a picture of each step."""

    sizes: dict[str, int]
    rates: dict[str, dict[str, list[float]]]
    steps: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"rates": self.rates, "steps": self.steps, "workers": WORKERS}

    def describe(self) -> str:
        """Two tables for each network."""
        found = []
        for network, rates in self.rates.items():
            ours = np.array(rates[OURS])
            found.append(
                section(
                    f"{network} at {self.sizes[network]} pixels: JPEG files of {SIZE[1]}x{SIZE[0]} to a finished store",
                    ["", "pictures a second", "annotate run / it"],
                    [
                        [name, f"{np.median(values):.1f}", str(Ratio.of(ours / np.array(values)))]
                        for name, values in rates.items()
                    ],
                    f"{WORKERS} processes of one thread each, random weights, medians over {len(ours)} rounds in which "
                    "each has its turn, and in brackets the middle half of the ratios within a round; without start-up "
                    "and compiling. The last is the published method's way.",
                )
            )
            each = WORKERS * 1000 / np.median(ours)
            steps = {**self.steps[network], "idle, and others' work": each - sum(self.steps[network].values())}
            found.append(
                section(
                    f"{network}: where a worker's time goes",
                    ["", "ms a picture", "of all"],
                    [[name, f"{ms:.2f}", f"{100 * ms / each:.1f} %"] for name, ms in steps.items()],
                    "Each step alone, in one thread of a machine that is otherwise left alone; the last line is what "
                    "the others leave of the time that a picture takes a worker, negative where they overlap.",
                )
            )
        return "\n".join(found)


def measure(
    folder: Path, *, networks: dict[str, int] = NETWORKS, rounds: int = 3, shards: int = SHARDS_OF_A_WORKER
) -> Labelling:
    """Write pictures and weights below the folder, and label the pictures in each way."""
    images = write_pictures(folder / "images")
    rates: dict[str, dict[str, list[float]]] = {}
    steps = {}
    for name, size in networks.items():
        recipe = Recipe(networks=(_network(folder, name, size),))
        steps[name] = _steps(recipe, images, folder / f"{name}-steps.zarr")
        seconds = ROWS_PER_SHARD * shards * sum(steps[name].values()) / 1000
        rates[name] = defaultdict(list)
        with (
            team(partial(_bare, recipe)) as bare,
            team(partial(_published, recipe, images, folder / "pickles")) as published,
        ):
            for turn in tqdm(range(rounds), desc=f"labelling with {name}", leave=False):
                rates[name][BARE].append(bare(seconds))
                rates[name][OURS].append(_through_ray(recipe, images, folder / f"{name}-{turn}.zarr", shards))
                rates[name][PUBLISHED].append(published(seconds))
        rates[name] = {way: rates[name][way] for way in (BARE, OURS, PUBLISHED)}
    return Labelling(dict(networks), rates, steps)


def write_pictures(folder: Path) -> Path:
    """Write random crops of two photographs."""
    rng, (height, width) = np.random.default_rng(0), SIZE
    for n in range(PICTURES):
        photograph = load_sample_images().images[n % 2]
        top, left = (int(rng.integers(length - side + 1)) for length, side in zip(photograph.shape, SIZE, strict=False))
        path = folder / "photographs" / f"{n:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[top : top + height, left : left + width]).save(path, quality=90)
    return folder


def _network(folder: Path, name: str, size: int) -> Network:
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    return Network.of(name, checkpoint=path, input_size=(size, size))


def _schema(recipe: Recipe, annotator: Annotator) -> Schema:
    return Schema(
        grid=annotator.grid,
        k=annotator.k,
        class_count=annotator.class_count,
        rows_per_shard=ROWS_PER_SHARD,
        recipe=recipe.to_json(),
    )


def _through_ray(recipe: Recipe, images: Path, address: Path, shards: int) -> float:
    """Pictures a second of the real workers, after each has compiled its network and finished a first shard."""
    source, annotator = FolderImages(images), Annotator(recipe, k=5)
    count = WORKERS * (shards + 1)
    rows = ROWS_PER_SHARD * count
    create_store(address, _schema(recipe, annotator), [f"{row:06}" for row in range(rows)])
    job = LabelJob(
        reader=source.reader,
        address=str(address),
        recipe=recipe,
        k=5,
        execution=Execution(batch_size=BATCH, compiled=True),
    )
    handles = [source.handles[row % PICTURES] for row in range(rows)]
    waiting = [
        Shard(range(start, start + ROWS_PER_SHARD), handles[start : start + ROWS_PER_SHARD])
        for start in range(0, rows, ROWS_PER_SHARD)
    ]
    ended: dict[str, list[float]] = defaultdict(list)
    for outcome in RayWorkers(WORKERS).map(_InStep(job, address.with_suffix(".ready")), waiting):
        if outcome.record is None:
            raise RuntimeError(outcome.error)
        ended[outcome.record.run["worker"]].append(time.monotonic())
    # From when all have finished a first shard, until the first worker has no more to do.
    start, end = max(min(times) for times in ended.values()), min(max(times) for times in ended.values())
    done = sum(shards_between(times, start, end) for times in ended.values())
    return ROWS_PER_SHARD * done / (end - start)


@dataclass(frozen=True, slots=True)
class _InStep:
    """A job whose workers wait for each other after their first shard, until all have compiled their networks."""

    job: LabelJob
    ready: Path  # a folder, with a file for each worker that waits

    def start(self) -> Callable[[Shard], Record]:
        do = self.job.start()
        self.ready.mkdir(exist_ok=True)
        mine = self.ready / str(os.getpid())

        def label(shard: Shard) -> Record:
            record = do(shard)
            if not mine.exists():
                mine.touch()
                while len(os.listdir(self.ready)) < WORKERS:
                    time.sleep(0.01)
            return record

        return label


def shards_between(times: list[float], start: float, end: float) -> float:
    """How many shards were done between two moments; at both ends, fractions of a shard count."""
    return float(np.interp(end, times, np.arange(len(times))) - np.interp(start, times, np.arange(len(times))))


def _steps(recipe: Recipe, images: Path, address: Path) -> dict[str, float]:
    """Milliseconds a picture of each step, alone and in one thread."""
    source = FolderImages(images)
    with one_thread():
        annotator = Annotator(recipe, k=5, compile_for=BATCH)
        store = create_store(address, _schema(recipe, annotator), [f"{row:06}" for row in range(ROWS_PER_SHARD)])
        taken: dict[str, list[float]] = defaultdict(list)
        for turn in range(4):
            handles = source.handles[:ROWS_PER_SHARD]
            clock = _Clock(taken if turn else defaultdict(list))  # the first turn compiles
            pictures = [decode(source.reader.read(handle)) for handle in handles]
            clock("decode")
            prepared = [annotator.prepare(picture) for picture in pictures]
            clock("resize")
            batches = [prepared[start : start + BATCH] for start in range(0, ROWS_PER_SHARD, BATCH)]
            with torch.inference_mode():
                logits = [values for batch in batches for _, _, values in annotator._logits(batch)]
            clock("forward")
            for values in logits:
                values.softmax(-1).topk(annotator.k, dim=-1)
            clock("top-k")
            answers = [annotator.start(batch)() for batch in batches]
            labels = LabelMap.stack([answer[n] for answer in answers for n in range(len(answer))])
            clock("all of the last again")
            coded = coding.encode(labels, store.schema)
            clock("code")
            store.backend.put(0, coded)
            clock("write")
    ms = {step: float(np.median(values)) * 1000 / ROWS_PER_SHARD for step, values in taken.items()}
    return {step: ms[step] for step in STEPS}


class _Clock:
    def __init__(self, taken: dict[str, list[float]]) -> None:
        self._taken, self._last = taken, time.perf_counter()

    def __call__(self, step: str) -> None:
        now = time.perf_counter()
        self._taken[step].append(now - self._last)
        self._last = now


def _bare(recipe: Recipe) -> Do:
    model = compiled(recipe.networks[0].build().to(memory_format=torch.channels_last))
    pixels = torch.randn(BATCH, 3, *recipe.networks[0].input_size).contiguous(memory_format=torch.channels_last)

    def do() -> int:
        model(pixels)
        return BATCH

    return do


def _published(recipe: Recipe, images: Path, folder: Path) -> Do:
    """Our implementation of the published method's way: one picture file in, one pickle out."""
    network, folder = recipe.networks[0], folder / str(os.getpid())
    model: Any = network.build()
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(images.rglob("*.jpg"))
    read = transforms.Compose(
        [
            transforms.Resize(network.input_size, transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(network.mean, network.std),
        ]
    )
    head = torch.nn.Conv2d(model.num_features, model.num_classes, 1)
    head.weight.data, head.bias.data = model.get_classifier().weight[:, :, None, None], model.get_classifier().bias

    def do() -> int:
        batch = [read(Image.open(path).convert("RGB")) for path in paths[:BATCH]]
        scores, classes = head(model.forward_features(torch.stack(batch))).topk(5, dim=1)
        for n, pair in enumerate(torch.stack([scores, classes.float()], 1).half()):
            torch.save(pair.clone(), folder / f"{n}.pt")
        paths.append(paths.pop(0))
        return BATCH

    return do
