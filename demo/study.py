"""Which targets help a student, and which labels? `make study`: equal students with different targets, seed by seed.

    python -m demo.study                          do all runs that are missing, and write the report
    python -m demo.study --report                 write the report from docs/study.json alone

Each finished run is a line of OUT/runs.jsonl and is not repeated. Remove OUT to start from the beginning.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from annotate.images import FolderImages
from annotate.jobs.run import run as label
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from demo import annotator, label_variants, scenes, study_report
from demo.label_variants import Change, averaged, coarsened, truncated
from demo.probe import probe, truths
from demo.students import STUDENTS
from demo.studies.runs import do_missing, pool
from demo.studies.runs import options as study_options
from demo.study_report import Worth
from demo.teaching import EPOCHS, TEACHINGS, accuracy, train, whole_pictures
from demo.truth import label_truth
from storage import open_store

OUT = Path("demo/out-study")
DOCS = Path("docs")
SEEDS = 5
SPLITS = {"train": 4000, "val": 2000}
PROBED = 2  # the probe learns from one in so many training pictures


class AnnotatorOf(NamedTuple):
    """An annotator: its training steps, and by which factor its pictures are larger than the scenes."""

    steps: int
    scale: float = 1.0


ANNOTATORS = {
    "good": AnnotatorOf(annotator.STEPS),
    "middling": AnnotatorOf(100),
    "poor": AnnotatorOf(30),
    "large": AnnotatorOf(annotator.STEPS // 2, scale=2.25),  # 144 pixels, 18x18 locations
}


class Labels(NamedTuple):
    """Labels of the train split: their annotator, the changes made to them in order, and the labels to compare with."""

    annotator: str
    changes: tuple[Change, ...]
    against: str | None = None


BASE, FINEST = "8x8 locations, k 5, 7 bits", "18x18 locations"
LABELS = {
    BASE: Labels("good", (truncated(5),)),
    "a middling annotator": Labels("middling", (truncated(5),), BASE),
    "a poor annotator": Labels("poor", (truncated(5),), BASE),
    **{f"k {k}": Labels("good", (truncated(k),), BASE) for k in (1, 3, 10)},
    **{f"{bits} bits": Labels("good", (truncated(5), coarsened(bits)), BASE) for bits in (2, 4)},
    **{f"{side}x{side} locations": Labels("large", (averaged((side, side)),), FINEST) for side in (6, 12)},
    FINEST: Labels("large", (averaged((18, 18)),)),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One student: its network, its teaching, its labels and its seed."""

    student: str
    teaching: str
    labels: str
    seed: int


def runs(seeds: int) -> Iterator[Run]:
    """All runs: the teachings first, and seed by seed, so that the first runs already have every teaching."""
    for seed in range(seeds):
        for student in STUDENTS:
            for teaching in TEACHINGS:
                yield Run(student, teaching, BASE, seed)
    for seed in range(seeds):
        for labels in LABELS:
            if labels != BASE:
                yield Run("CNN", "ours", labels, seed)


class Result(NamedTuple):
    """The quality of a student on val, as fractions.

    accuracy:             by the class head
    accuracy_with_tokens: by its logits and half of the best token's, as LV-ViT answers
    miou, pixel_accuracy: of the digit under each pixel, predicted from frozen features; see demo/probe.py
    """

    accuracy: float
    accuracy_with_tokens: float
    miou: float
    pixel_accuracy: float


def learn(out: Path, run: Run, epochs: int) -> Result:
    """Train one student, and evaluate it."""
    store, teaching = out / file_of(run.labels), TEACHINGS[run.teaching]
    model = train(out / "images/train", store, teaching, run.seed, student=run.student, epochs=epochs)
    (seen, truth), (val, val_classes, val_truth) = train_pixels(out), val_pixels(out)
    return Result(*accuracy(model, val, val_classes), *probe(model, (seen, truth), (val, val_truth), seed=run.seed))


@cache
def train_pixels(out: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and the digit under each of them, of the training pictures that the probe learns from."""
    images = out / "images/train"
    return whole_pictures(images)[0][::PROBED].clone(), truths(images, out / "truth/train")[::PROBED].clone()


@cache
def val_pixels(out: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels of val, their classes, and the digit under each pixel."""
    images = out / "images/val"
    return *whole_pictures(images), truths(images, out / "truth/val")


def file_of(labels: str) -> Path:
    """The store of these labels, below the folder of the study."""
    return Path("labels", labels.replace(",", "").replace(" ", "-") + ".zarr")


def make_annotator(out: Path, name: str, steps: int | None = None) -> dict[str, float]:
    """Train an annotator and label the train split with it, keeping all classes; its accuracy on single digits."""
    torch.set_num_threads(1)
    checkpoint, figures = out / f"annotators/{name}.safetensors", out / f"annotators/{name}.json"
    kind = ANNOTATORS[name]
    if not figures.exists():
        right = annotator.train(checkpoint, steps=steps or kind.steps, scale=kind.scale)
        figures.write_text(json.dumps({"accuracy": right}))
    side = round(annotator.CANVAS * kind.scale)
    recipe = Recipe.for_model(
        annotator.MODEL, checkpoint=checkpoint, input_size=(side, side), model_kwargs=annotator.MODEL_KWARGS
    )
    classes = len(scenes.CLASS_NAMES)
    label(FolderImages(out / "images/train"), str(out / f"annotators/{name}.zarr"), recipe, LocalWorkers(), k=classes)
    return json.loads(figures.read_text())


def make_labels(
    out: Path, splits: dict[str, int] = SPLITS, steps: int | None = None, *, only: Collection[str] = LABELS.keys()
) -> dict[str, Worth]:
    """Make pictures, annotators and label stores; the quality of each store.

    Args:
        out: the folder of the study.
        splits: pictures of each split.
        steps: training steps of every annotator, instead of their own.
        only: the labels that are wanted.
    """
    wanted = {name: LABELS[name] for name in only}
    (out / "annotators").mkdir(parents=True, exist_ok=True)
    (out / "labels").mkdir(exist_ok=True)
    scenes.write(out, splits=splits)
    annotators = {labels.annotator: None for labels in wanted.values()}
    with pool() as workers:
        running = {name: workers.submit(make_annotator, out, name, steps) for name in annotators}
        made = {name: one.result() for name, one in running.items()}
    found = {}
    for name, labels in tqdm(wanted.items(), desc="labels", unit=" stores", disable=None):
        label_variants.write(out / f"annotators/{labels.annotator}.zarr", out / file_of(name), labels.changes)
        right, locations = label_truth(open_store(out / file_of(name)), out / "truth/train")
        found[name] = Worth(made[labels.annotator]["accuracy"], right / locations, labels.against)
    return found


def study(out: Path, todo: Sequence[Run], epochs: int = EPOCHS) -> None:
    """Do the runs that are missing, two at a time."""
    lines = out / "runs.jsonl"
    known = {run for run, _ in read_runs(lines)} if lines.exists() else set()
    do_missing(todo, known, partial(learn, out, epochs=epochs), partial(keep_run, lines))


def keep_run(lines: Path, run: Run, result: Result) -> None:
    """Append a finished run."""
    line = asdict(run) | {name: round(value, 6) for name, value in result._asdict().items()}
    with lines.open("a") as file:
        file.write(json.dumps(line) + "\n")


def read_runs(lines: Path) -> Iterator[tuple[Run, Result]]:
    """The finished runs and their results."""
    for line in lines.read_text().splitlines():
        values = json.loads(line)
        yield (
            Run(*(values[name] for name in Run.__dataclass_fields__)),
            Result(*(values[name] for name in Result._fields)),
        )


def main() -> None:
    """Run the study and write its report, or the report alone."""
    options = study_options(__doc__, seeds=SEEDS)
    if not options.report:
        worth, asked = make_labels(OUT), list(runs(options.seeds))
        study(OUT, asked)
        keep(DOCS / "study.json", worth, dict(read_runs(OUT / "runs.jsonl")), asked)
    write_report(DOCS / "study.json", DOCS / "study.md", DOCS / "study.png")


def keep(path: Path, worth: dict[str, Worth], found: dict[Run, Result], asked: Sequence[Run]) -> None:
    """Write all figures as JSON, in the order of the runs, a line for each student."""
    labels = json.dumps({name: asdict(known) for name, known in worth.items()}, indent=1)
    lines = [json.dumps(asdict(run) | found[run]._asdict(), ensure_ascii=False) for run in asked]
    path.write_text(f'{{"labels": {labels},\n"runs": [\n' + ",\n".join(lines) + "\n]}\n")


def write_report(kept: Path, page: Path, picture: Path) -> None:
    """Write tables and picture from the JSON file."""
    values = json.loads(kept.read_text())
    accuracy, with_tokens, miou = (
        _by_kind(values["runs"], name) for name in ("accuracy", "accuracy_with_tokens", "miou")
    )
    worth = {name: Worth(**known) for name, known in values["labels"].items()}
    study_report.write(page, study_report.tables(accuracy, with_tokens, miou, worth, BASE))
    study_report.plot(picture, accuracy, miou, worth, BASE)


def _by_kind(lines: Sequence[dict[str, Any]], name: str) -> dict[tuple[str, str, str], list[float]]:
    found: dict[tuple[str, str, str], list[float]] = {}
    for line in sorted(lines, key=lambda line: line["seed"]):
        found.setdefault((line["student"], line["teaching"], line["labels"]), []).append(line[name])
    return found


if __name__ == "__main__":
    main()
