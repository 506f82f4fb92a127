"""What does a light store save, and what does it cost? `python -m benchmarks.storage.light [--students FOLDER]`

Bytes and divergence are those of the reference maps. With --students, equal students also learn from each setting
on the demo's scenes, over five seeds: 23 minutes of processor time, on two cores. A run that is stopped continues.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.reference import CLASS_COUNT, Maps, write_store
from benchmarks.storage.fidelity import divergence
from demo.markdown import section
from storage import LabelMap, LabelStore, Lightness, lighten, open_store
from storage.encoding.averaged_grid import averaged

SETTINGS: Mapping[str, Lightness | None] = {
    "as labelled: k 5, 18x18": None,
    "--coarse 8": Lightness(coarse=8),
    "--k 3": Lightness(k=3),
    "--k 3 --coarse 8": Lightness(k=3, coarse=8),
    "--grid 9x9 --coarse 8": Lightness(grid=(9, 9), coarse=8),
    "--k 3 --coarse 8 --grid 9x9": Lightness(k=3, coarse=8, grid=(9, 9)),
}
SEEDS = 5


@dataclass(frozen=True, slots=True)
class Light:
    """One setting.

    bytes:  a map, of `classes` and `scores`
    coding: mean divergence from the same classes and grid without coding, nats
    all:    mean divergence from the full maps at each of their locations, nats: what is not stored of a location counts
            as spread evenly over all other classes
    """

    bytes: float
    coding: float
    all: float


def measure(folder: Path, count: int | None = None) -> dict[str, Light]:
    """Write the reference maps, or the first so many, and their light stores below the folder."""
    maps = Maps.load(count)
    source = write_store(maps, folder / "labels.zarr")
    return {
        name: _measured(maps, _light(source, folder / f"{n}.zarr", kept))
        for n, (name, kept) in enumerate(SETTINGS.items())
    }


def _light(source: LabelStore, address: Path, kept: Lightness | None) -> LabelStore:
    return source if kept is None else open_store(lighten(source, str(address), kept).address)


def _measured(maps: Maps, store: LabelStore) -> Light:
    labels, grid, k = store.read(range(len(store))), store.schema.grid, store.schema.k
    classes, exact = maps.classes, maps.probabilities
    if grid != classes.shape[1:3]:
        classes, exact = averaged(classes, exact, grid, k)
    exact = exact[..., :k]
    return Light(
        bytes=sum(_chunks(Path(store.address))) / len(maps),
        coding=float(divergence(exact, labels.scores).mean()),
        all=float(_from_full(maps, labels).mean()),
    )


def _chunks(address: Path) -> list[int]:
    """The bytes of each object of classes and scores."""
    return [
        path.stat().st_size
        for name in ("classes", "scores")
        for path in (address / name / "c").rglob("*")
        if path.is_file()
    ]


def _from_full(maps: Maps, labels: LabelMap) -> NDArray[np.float64]:
    """The divergence of light labels from the full maps, at each of their locations."""
    (h, w), (rows, columns) = maps.classes.shape[1:3], labels.grid
    # The location of the light grid that has the centre of each of the full one's.
    at = np.ix_(
        np.arange(len(maps)), (2 * np.arange(h) + 1) * rows // (2 * h), (2 * np.arange(w) + 1) * columns // (2 * w)
    )
    classes, scores = labels.classes[at], labels.scores[at].astype(np.float64)
    remainder = np.clip(1 - scores.sum(-1), 0, 1)
    same = maps.classes[..., :, None] == classes[..., None, :]  # [n, h, w, 5, k]
    named = (same * scores[..., None, :]).sum(-1)
    others = remainder / (CLASS_COUNT - (scores > 0).sum(-1))
    q = np.where(same.any(-1) & (named > 0), named, others[..., None])
    # The classes that the full map does not name share its remainder; the light one gives them what it gave no other.
    return divergence(maps.probabilities, q)


@dataclass(frozen=True, slots=True)
class Run:
    """One student: what it learns from, and its seed."""

    setting: str
    seed: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What students made of one setting.

    truth:    fraction of the label locations inside a digit that name it
    accuracy: of each student on val, in [0, 1]
    """

    truth: float
    accuracy: Sequence[float]


def students(
    folder: Path, seeds: int = SEEDS, epochs: int | None = None, pictures: int = 4000, steps: int | None = None
) -> dict[str, Learned]:
    """Train students on the scenes with the labels of each setting, two at a time.

    Args:
        folder: keeps what was made; students that it has are not trained again.
        seeds: students of each setting.
        epochs: of each student; default: the demo's.
        pictures: for training; half as many for evaluation.
        steps: training steps of the annotator; default: the study's.
    """
    from demo import scenes
    from demo.studies import runs
    from demo.study import make_annotator
    from demo.teaching import EPOCHS
    from demo.truth import label_truth

    (folder / "annotators").mkdir(parents=True, exist_ok=True)
    scenes.write(folder, splits={"train": pictures, "val": pictures // 2})
    make_annotator(folder, "large", steps)
    source = _light(open_store(folder / "annotators/large.zarr"), folder / "light/full.zarr", Lightness(k=5))
    truth = {}
    for name, kept in SETTINGS.items():
        store = _light(source, _labels(folder, name), kept)
        right, locations = label_truth(store, folder / "truth/train")
        truth[name] = right / max(1, locations)
    todo = [Run(name, seed) for seed in range(seeds) for name in SETTINGS]
    found = runs.do(folder / "light.jsonl", todo, partial(_learn, folder, epochs or EPOCHS))
    return {
        name: Learned(truth[name], [each["accuracy"] for run, each in found.items() if run.setting == name])
        for name in SETTINGS
    }


def _labels(folder: Path, setting: str) -> Path:
    """Where the labels of a setting are."""
    name = "full" if SETTINGS[setting] is None else setting.replace(" ", "")
    return folder / "light" / f"{name}.zarr"


def _learn(folder: Path, epochs: int, run: Run) -> dict[str, float]:
    """Train one student, and measure it."""
    from demo.teaching import TEACHINGS, accuracy, train, whole_pictures

    labels, teaching = _labels(folder, run.setting), TEACHINGS["ours"]
    model = train(folder / "images/train", labels, teaching, run.seed, student="CNN", epochs=epochs)
    return {"accuracy": accuracy(model, *whole_pictures(folder / "images/val"))[0]}


def describe(found: Mapping[str, Light], learned: Mapping[str, Learned]) -> str:
    """The table."""
    first = next(iter(found.values())).bytes
    rows = [
        [
            name,
            f"{light.bytes:,.0f}",
            f"{light.bytes / first:.2f}",
            f"{light.coding:.1e}",
            f"{light.all:.1e}",
            *_accuracy(learned.get(name)),
        ]
        for name, light in found.items()
    ]
    head = ["setting", "bytes a map", "it / full", "KL of coding", "KL from the full map"]
    return section(
        "Light stores",
        [*head, *(["label truth", "student's accuracy"] if learned else [])],
        rows,
        "Classes and scores of the reference maps, with their index. KL of coding, in nats: from the same classes and "
        "grid, not coded. KL from the full map: at each of its locations, with what is not stored spread over all "
        "other classes.",
    )


def _accuracy(learned: Learned | None) -> list[str]:
    """Label truth; mean and standard deviation of the accuracy; in percent."""
    if learned is None:
        return []
    found = learned.accuracy
    return [f"{100 * learned.truth:.1f}", f"{100 * np.mean(found):.1f} ± {100 * np.std(found, ddof=1):.1f}"]


@click.command()
@click.option("--students", "learn", type=click.Path(path_type=Path), help="Also train students, in this folder.")
@click.option("--seeds", type=click.IntRange(min=2), default=SEEDS, show_default=True)
def main(learn: Path | None, seeds: int) -> None:
    """Measure six settings of `annotate convert`."""
    with tempfile.TemporaryDirectory(prefix="tokenlabel-benchmark-") as folder:
        found = measure(Path(folder))
    print(describe(found, students(learn, seeds) if learn else {}))


if __name__ == "__main__":
    main()
