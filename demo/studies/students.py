"""How do the kinds of students compare, with class labels and with token labels? `make study STUDY=students`.

    python -m demo.studies.students               do all runs that are missing, and write the report
    python -m demo.studies.students --report      write the report from docs/study-students.json alone

Each learns as those of `make study` do. DynamicViT then starts from the LV-ViT of the same seed and teaching, and
learns half as long again, with that as its teacher.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt

from demo.markdown import table
from demo.probe import probe
from demo.students import CLASSES, SIZE, TOKENS
from demo.studies import runs
from demo.studies.kinds import DROPS_TOKENS, dynamic_vit, features_of, kinds
from demo.study import BASE, DOCS, OUT, SEEDS, SPLITS, file_of, make_labels, train_pixels, val_pixels
from demo.study_report import Difference, points, spread, write
from demo.teaching import BATCH, EPOCHS, TEACHINGS, accuracy, loss_of, train
from tokenlabel import TokenTargets

COMMAND = "make study STUDY=students"
LABELS = {"class labels": "class labels", "token labels": "ours, pictures taught their class"}
_TIMED = 7  # batches


@dataclass(frozen=True, slots=True)
class Run:
    """One student: its kind, what it is taught, and its seed."""

    student: str
    labels: str
    seed: int


def asked(seeds: int) -> list[Run]:
    """All runs, seed by seed; those of VT-ResNet if there is one."""
    names = [*kinds(), DROPS_TOKENS]
    return [Run(name, labels, seed) for seed in range(seeds) for name in names for labels in LABELS]


def learn(out: Path, epochs: int, run: Run) -> runs.Figures:
    """Train one student, and measure it.

    Returns:
        accuracy, by the class head; miou of the digits under pixels, from frozen tokens; and pictures a second of
        processor time in training and in evaluation, in batches of 64.
    """
    teaching = TEACHINGS[LABELS[run.labels]]
    teach = partial(train, out / "images/train", out / file_of(BASE), teaching, run.seed)
    if run.student == DROPS_TOKENS:
        base = teach(epochs=epochs)
        student = dynamic_vit(base)
        teacher = student.teacher()
        teacher.load_state_dict(base.state_dict())
        model = teach(student=lambda: student, epochs=max(1, epochs // 2), teacher=teacher)
    else:
        teacher = None
        model = teach(student=kinds()[run.student], epochs=epochs)
    pixels, truth = train_pixels(out)
    val, classes, val_truth = val_pixels(out)
    seen = probe(model, (pixels, truth), (val, val_truth), seed=run.seed, features_of=features_of)
    right, _ = accuracy(model, val, classes)
    evaluation, training = speeds(model, teacher, teaching.token_weight)  # which changes the batch norms' averages
    return {
        "weights": sum(weight.numel() for weight in model.parameters()),
        "accuracy": round(right, 6),
        "miou": round(seen.miou, 6),
        "training_rate": round(training, 1),
        "evaluation_rate": round(evaluation, 1),
    }


def speeds(model: Any, teacher: torch.nn.Module | None, token_weight: float) -> tuple[float, float]:
    """Pictures a second of processor time on one thread, medians: in evaluation, and in training with its teacher."""
    pixels = torch.randn(BATCH, 3, *SIZE)
    positions = 1 + TOKENS[0] * TOKENS[1]
    targets = TokenTargets(
        torch.randint(CLASSES, (BATCH, positions, 5)),
        torch.full((BATCH, positions, 5), 0.19),
        torch.zeros(BATCH, positions, dtype=torch.bool),
    )
    answer = model if hasattr(model, "num_classes") else model.logits

    def evaluate() -> None:
        with torch.inference_mode():
            answer(pixels)

    def step() -> None:
        loss_of(model, pixels, None, targets, None, token_weight=token_weight, teacher=teacher).backward()

    evaluation = _rate(evaluate)
    model.train()
    return evaluation, _rate(step)


def _rate(do: Callable[[], None]) -> float:
    taken = []
    for _ in range(1 + _TIMED):
        started = time.process_time()
        do()
        taken.append(time.process_time() - started)
    return BATCH / statistics.median(taken[1:])


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
        seeds: students of each kind.
        splits: pictures of each split.
        steps: training steps of the annotator, instead of its own.
        epochs: of each student.
    """
    make_labels(out, splits, steps, only=[BASE])
    return runs.do(out / "students.jsonl", asked(seeds), partial(learn, out, epochs))


def tables(found: Mapping[Run, runs.Figures]) -> str:
    """One table, in Markdown."""
    plain, taught = LABELS
    head = ["", "weights", f"accuracy, {plain}", taught, "difference", f"mIoU, {plain}", taught, "difference"]
    head += ["training, pictures a second of a core", "evaluation"]
    rows = []
    for name in dict.fromkeys(run.student for run in found):
        cells = [name, f"{next(_of(found, name, plain, 'weights')):,}"]
        for figure in ("accuracy", "miou"):
            values = [list(_of(found, name, labels, figure)) for labels in LABELS]
            cells += [*map(spread, values), str(Difference.of(values[1], values[0]))]
        for figure in ("training_rate", "evaluation_rate"):
            cells.append(f"{statistics.median(_of(found, name, taught, figure)):,.0f}")
        rows.append(cells)
    return table(head, rows)


def plot(path: Path, found: Mapping[Run, runs.Figures]) -> None:
    """Every student as a point: accuracy and mean IoU, with either kind of labels."""
    mpl.rcParams["font.size"] = 9
    names = dict.fromkeys(run.student for run in found)
    figure, panels = plt.subplots(
        1, 2, figsize=(11, 0.5 + 0.5 * len(names)), sharey=True, layout="constrained", dpi=110
    )
    titles = "accuracy on val, %", "mean IoU of the digits, from frozen tokens, %"
    for axes, of, title in zip(panels, ("accuracy", "miou"), titles, strict=True):
        groups: dict[str, Sequence[float]] = {
            f"{name}, {labels}": list(_of(found, name, labels, of)) for name in names for labels in LABELS
        }
        points(axes, groups)
        axes.set_xlabel(title)
    figure.savefig(path)
    plt.close(figure)


def _of(found: Mapping[Run, runs.Figures], student: str, labels: str, figure: str) -> Iterator[Any]:
    """A figure of all seeds of a kind of student, in their order."""
    return (values[figure] for run, values in found.items() if (run.student, run.labels) == (student, labels))


def report(docs: Path) -> None:
    """Write the table and the picture from the JSON file."""
    found = runs.read(docs / "study-students.json", Run)
    write(docs / "study.md", f"![Every student as a point](study-students.png)\n\n{tables(found)}", COMMAND)
    plot(docs / "study-students.png", found)


def main() -> None:
    """Run the study and write its report, or the report alone."""
    options = runs.options(__doc__, seeds=SEEDS)
    if not options.report:
        runs.write(DOCS / "study-students.json", measure(OUT, seeds=options.seeds))
    report(DOCS)


if __name__ == "__main__":
    main()
