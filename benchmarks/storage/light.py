"""What does a light store save, and what does it cost? `python -m benchmarks.storage.light [--students FOLDER]`

Bytes and divergence are those of the reference maps. With --students, equal students also learn from each setting
on the demo's scenes, over five seeds: more than half an hour on two cores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def students(
    folder: Path, seeds: int = SEEDS, epochs: int | None = None, pictures: int = 4000
) -> dict[str, list[float]]:
    """The accuracy of students that learned from each setting, seed by seed; folder keeps what was made."""
    import torch

    from demo import scenes
    from demo.study import make_annotator
    from demo.teaching import EPOCHS, TEACHINGS, accuracy, train, whole_pictures

    torch.set_num_threads(1)
    (folder / "annotators").mkdir(parents=True, exist_ok=True)
    scenes.write(folder, splits={"train": pictures, "val": pictures // 2})
    make_annotator(folder, "large")
    source = open_store(
        lighten(open_store(folder / "annotators/large.zarr"), str(folder / "k5.zarr"), Lightness(k=5)).address
    )
    val = whole_pictures(folder / "images/val")
    found: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for seed in range(seeds):
        for number, (name, kept) in enumerate(SETTINGS.items()):
            store = _light(source, folder / f"light-{number}.zarr", kept)
            model = train(
                folder / "images/train",
                Path(store.address),
                TEACHINGS["ours"],
                seed,
                student="CNN",
                epochs=epochs or EPOCHS,
            )
            found[name].append(accuracy(model, *val)[0])
            print(f"seed {seed}, {name}: {found[name][-1]:.4f}", flush=True)
    return found


def describe(found: Mapping[str, Light], learned: Mapping[str, Sequence[float]]) -> str:
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
        [*head, *(["student's accuracy"] if learned else [])],
        rows,
        "Classes and scores of the reference maps, with their index. KL of coding, in nats: from the same classes and "
        "grid, not coded. KL from the full map: at each of its locations, with what is not stored spread over all "
        "other classes.",
    )


def _accuracy(seeds: Sequence[float] | None) -> list[str]:
    """Mean and standard deviation, in percent."""
    return [] if seeds is None else [f"{100 * np.mean(seeds):.1f} ± {100 * np.std(seeds, ddof=1):.1f}"]


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
