"""Does scaled ReLU in the stem make training safer and tokens more different? `make study STUDY=stem`.

    python -m demo.studies.stem                   do all runs that are missing, and write the report
    python -m demo.studies.stem --report          write the report from docs/study-stem.json alone

The claim is that of arXiv 2109.03810: batch norm and ReLU after the stem's convolutions, not convolutions alone, let a
vision transformer train at higher learning rates and without warm-up, and make its tokens more diverse.

First every stem learns at every rate, with and without warm-up, for GRID_SEEDS seeds. Then, at the setting in which the
stems' mean accuracies lie furthest apart, each learns for as many other seeds as --seeds says: their intervals owe
nothing to the choice of the setting. Gradients are not clipped, as clipping hides what is asked.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from demo.markdown import table
from demo.students import lvvit
from demo.studies import runs
from demo.studies.diversity import diversity
from demo.study import BASE, DOCS, OUT, SEEDS, SPLITS, file_of, make_labels, val_pixels
from demo.study_report import Difference, spread, write
from demo.teaching import EPOCHS, TEACHINGS, Pace, accuracy, train

COMMAND = "make study STUDY=stem"
TEACHING = "ours, pictures taught their class"
STEMS: dict[str, dict[str, Any]] = {
    "patches": {"stem_strides": ()},
    "convolutions": {"stem_norm": False, "stem_relu": False},
    "and ReLU": {"stem_norm": False},
    "and batch norm": {"stem_relu": False},
    "scaled ReLU: both": {},
}
SCALED, PATCHES = "scaled ReLU: both", "patches"
RATES = (1e-3, 3e-3, 1e-2)
WARMUPS = {True: 0.2, False: 0.0}
GRID_SEEDS = 2
LEARNT = 0.2  # a student that names fewer of ten classes has learnt nothing: chance is about 0.1
DIVERSE_OF = 500  # pictures of val


@dataclass(frozen=True, slots=True)
class Run:
    """One student: its stem, its peak learning rate, whether that is reached slowly, and its seed."""

    stem: str
    rate: float
    warmup: bool
    seed: int


Setting = tuple[float, bool]
"""A rate, and whether there is a warm-up."""


def grid() -> Iterator[Run]:
    """Every stem in every setting, seed by seed."""
    for seed in range(GRID_SEEDS):
        for rate in RATES:
            for warmup in WARMUPS:
                for stem in STEMS:
                    yield Run(stem, rate, warmup, seed)


def others(setting: Setting, seeds: int) -> Iterator[Run]:
    """Every stem in one setting, with seeds that the grid did not have."""
    for seed in range(GRID_SEEDS, GRID_SEEDS + seeds):
        for stem in STEMS:
            yield Run(stem, *setting, seed)


def learn(out: Path, epochs: int, run: Run) -> runs.Figures:
    """Train one student; its accuracy by the class head, and the diversity of its tokens, layer by layer."""
    model = train(
        out / "images/train",
        out / file_of(BASE),
        TEACHINGS[TEACHING],
        run.seed,
        student=partial(lvvit, **STEMS[run.stem]),
        epochs=epochs,
        pace=Pace(run.rate, WARMUPS[run.warmup], math.inf),
    )
    pixels, classes, _ = val_pixels(out)
    found = diversity(model, pixels[:: max(1, len(pixels) // DIVERSE_OF)])
    return {
        "accuracy": round(accuracy(model, pixels, classes)[0], 6) if found else 0.0,
        "similarity": found and [round(value, 4) for value in found.similarity],
        "rank": found and [round(value, 3) for value in found.rank],
    }


def separating(found: dict[Run, runs.Figures]) -> Setting:
    """The setting of the grid in which the stems' mean accuracies lie furthest apart."""

    def distance(setting: Setting) -> float:
        means = [statistics.mean(_values(found, stem, setting, GRID_SEEDS)) for stem in STEMS]
        return max(means) - min(means)

    return max(((rate, warmup) for rate in RATES for warmup in WARMUPS), key=distance)


def measure(
    out: Path,
    *,
    seeds: int = SEEDS,
    splits: dict[str, int] = SPLITS,
    steps: int | None = None,
    epochs: int = EPOCHS,
) -> dict[Run, runs.Figures]:
    """Do the runs that are missing; all that were found.

    Args:
        out: the folder of the study, which may have pictures and labels of others.
        seeds: students of each stem in the setting that separates them.
        splits: pictures of each split.
        steps: training steps of the annotator, instead of its own.
        epochs: of each student.
    """
    make_labels(out, splits, steps, only=[BASE])
    lines = out / "stem.jsonl"
    found = runs.do(lines, list(grid()), partial(learn, out, epochs))
    return found | runs.do(lines, list(others(separating(found), seeds)), partial(learn, out, epochs))


def tables(found: dict[Run, runs.Figures]) -> str:
    """What the study found, in Markdown."""
    settings: list[Setting] = [(rate, warmup) for rate in RATES for warmup in WARMUPS]
    setting = separating(found)
    head = [f"Accuracy, mean of {GRID_SEEDS} seeds", *map(_said, settings), "learnt nothing"]
    rows = []
    for stem in STEMS:
        values = {one: _values(found, stem, one, GRID_SEEDS) for one in settings}
        lost = sum(value < LEARNT for some in values.values() for value in some)
        means = [f"{100 * statistics.mean(some):.1f}" for some in values.values()]
        rows.append([stem, *means, f"{lost} of {GRID_SEEDS * len(settings)}"])
    parts = [table(head, rows)]

    tried = {stem: [run for run in found if run.stem == stem and run.seed >= GRID_SEEDS] for stem in STEMS}
    seeds = len(tried[SCALED])
    accuracies = {stem: [found[run]["accuracy"] for run in chosen] for stem, chosen in tried.items()}
    head = [f"{_said(setting)}, {seeds} other seeds", "accuracy", "less scaled ReLU's", "learnt nothing"]
    rows = [
        [
            stem,
            spread(values),
            "" if stem == SCALED else str(Difference.of(values, accuracies[SCALED])),
            f"{sum(value < LEARNT for value in values)} of {seeds}",
        ]
        for stem, values in accuracies.items()
    ]
    parts.append(table(head, rows))
    titles = {"similarity": "Mean cosine of two tokens of a picture", "rank": "Effective rank of a picture's tokens"}
    for name, title in titles.items():
        rows = []
        for stem, chosen in tried.items():
            layers = [found[run][name] for run in chosen if found[run][name]]
            means = [statistics.mean(layer) for layer in zip(*layers, strict=True)]
            rows.append([stem, *(f"{mean:.2f}" for mean in means)])
        width = max(map(len, rows)) - 1
        rows = [[*row, *["not finite"] * (1 + width - len(row))] for row in rows]
        parts.append(table([title, "stem", *(f"block {n}" for n in range(1, width))], rows))
    return "\n".join(parts)


def _values(found: dict[Run, runs.Figures], stem: str, setting: Setting, seeds: int) -> list[float]:
    return [found[Run(stem, *setting, seed)]["accuracy"] for seed in range(seeds)]


def _said(setting: Setting) -> str:
    rate, warmup = setting
    return f"{rate:g}{'' if warmup else ', no warm-up'}"


def report(docs: Path) -> None:
    """Write the tables from the JSON file."""
    write(docs / "study.md", tables(runs.read(docs / "study-stem.json", Run)), COMMAND)


def main() -> None:
    """Run the study and write its report, or the report alone."""
    options = runs.options(__doc__, seeds=SEEDS, seeds_of="students of each stem in the setting that separates")
    torch.set_num_threads(1)
    if not options.report:
        runs.write(DOCS / "study-stem.json", measure(OUT, seeds=options.seeds))
    report(DOCS)


if __name__ == "__main__":
    main()
