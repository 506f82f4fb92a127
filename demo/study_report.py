"""What did the study find, and how certain is it? Tables with intervals, and a plot of every student.

Differences are paired by seed: students of one seed share first weights, pictures, crops and order. An interval is that
of Student's t at 95 %. "Detectable" is the true difference that a test at the 5 % level would miss one time in five,
(t_0.975 + t_0.8) · sd / √n, with the standard deviation that was found.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from scipy.stats import t as students_t

from demo.markdown import replace_between, table

COMMAND = "make study"
INK, PALE, ACCENT = "#1d2733", "#9aa7b4", "#c2410c"

# (what is compared, with what): each asks one question.
COMPARISONS = (
    ("the paper's rule, axes right", "the paper's rule, axes swapped", "what the swap of axes costs"),
    (
        "the paper's rule, geometry right too",
        "the paper's rule, axes right",
        "what reading the centre as the whole picture costs",
    ),
    ("ours", "the paper's rule, geometry right too", "what blending probabilities with the remainder gains"),
    ("ours with MixToken", "ours", "what MixToken gains"),
    ("ours", "whole-picture distillation", "what labels of locations gain over labels of pictures"),
    ("ours, pictures taught their class", "class labels", "what token labels add to class labels"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired difference: its mean, the half width of its 95 % interval, and what could have been detected."""

    mean: float
    half_width: float
    detectable: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
        """The difference of values of the same seeds; two at least."""
        found = [a - b for a, b in zip(ours, theirs, strict=True)]
        half_width = _errors(found, 0.975)
        return cls(statistics.mean(found), half_width, half_width + _errors(found, 0.8))

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half_width

    def __str__(self) -> str:
        text = f"{_signed(100 * self.mean)} ± {100 * self.half_width:.1f}"
        return f"**{text}**" if self.is_sure else text


Values = Mapping[tuple[str, str, str], Sequence[float]]
"""By student, teaching and labels: a value for each seed, in the order of the seeds."""


@dataclass(frozen=True, slots=True)
class Worth:
    """The quality of one kind of labels, as fractions, and the labels to compare their student with; None for none.

    annotator_accuracy: on unseen single digits
    label_truth:        fraction of label locations inside a digit that name it
    """

    annotator_accuracy: float
    label_truth: float
    against: str | None


def tables(accuracy: Values, with_tokens: Values, miou: Values, worth: Mapping[str, Worth], base: str) -> str:
    """All tables, in Markdown; every figure in percent.

    Args:
        accuracy: accuracy of the class head.
        with_tokens: with half of the best token's logits added.
        miou: mean IoU of the digits under pixels.
        worth: the quality of all labels.
        base: the labels on which teachings are compared.
    """
    students, teachings = (_of(accuracy, index) for index in (0, 1))
    seeds = {len(values) for values in accuracy.values()}
    assert len(seeds) == 1, f"the students have been trained for different seeds: {seeds}"
    parts = []
    for title, values in (
        ("Accuracy on val, by the class head", accuracy),
        ("Accuracy with half of the best token's logits", with_tokens),
        ("Dense transfer: mean IoU of the ten digits", miou),
    ):
        head = [title, *(text for who in students for text in (who, "against class labels"))]
        rows = [
            [teaching]
            + [
                text
                for who in students
                for text in (
                    spread(values[who, teaching, base]),
                    "" if teaching == teachings[0]
                    else str(Difference.of(values[who, teaching, base], values[who, teachings[0], base])),
                )
            ]
            for teaching in teachings
        ]  # fmt: skip
        parts.append(table(head, rows))
    head = ["One question each", *(f"{who}: {what}" for what in ("accuracy", "mIoU") for who in students)]
    head += ["detectable, accuracy"]
    rows = []
    for ours, theirs, question in COMPARISONS:
        found = [
            Difference.of(values[who, ours, base], values[who, theirs, base])
            for values in (accuracy, miou)
            for who in students
        ]
        detectable = " / ".join(f"{100 * each.detectable:.1f}" for each in found[: len(students)])
        rows.append([f"{question}: “{ours}” − “{theirs}”", *map(str, found), detectable])
    parts.append(table(head, rows))
    who, teaching = _taught_other_labels(accuracy, base)
    head = [f"Labels ({who}, {teaching})", "annotator", "label truth", "accuracy", "mIoU", "accuracy, compared", "with"]
    rows = []
    for labels, known in worth.items():
        values = accuracy[who, teaching, labels]
        against = known.against and str(Difference.of(values, accuracy[who, teaching, known.against]))
        rows.append(
            [
                labels,
                f"{100 * known.annotator_accuracy:.1f}",
                f"{100 * known.label_truth:.1f}",
                spread(values),
                spread(miou[who, teaching, labels]),
                against or "",
                known.against or "",
            ]
        )
    parts.append(table(head, rows))
    return "\n".join(parts)


def marks(command: str = COMMAND) -> tuple[str, str]:
    """The lines before and after what a command writes on a page."""
    return tuple(f"<!-- what {place} is written by `{command}` -->\n" for place in ("follows", "was before"))


def write(page: Path, text: str, command: str = COMMAND) -> None:
    """Replace the tables between the two marks of a command on a page.

    Raises:
        ValueError: the page lacks the marks.
    """
    replace_between(page, *marks(command), f"\n{text}\n")


def plot(path: Path, accuracy: Values, miou: Values, worth: Mapping[str, Worth], base: str) -> None:
    """Every student as a point, means with their 95 % intervals beside them, as a PNG."""
    students, teachings = (_of(accuracy, index) for index in (0, 1))
    mpl.rcParams.update(
        {"font.size": 9, "axes.edgecolor": PALE, "text.color": INK, "axes.labelcolor": INK, "ytick.color": INK}
    )
    figure = plt.figure(figsize=(11, 10.5), layout="constrained", dpi=110)
    upper, middle, lower = figure.subfigures(3, 1, height_ratios=[1, 1, 1.25])
    for part, values, title in (
        (upper, accuracy, "accuracy on val, %"),
        (middle, miou, "dense transfer from frozen features: mean IoU of the digits, %"),
    ):
        panels = part.subplots(1, len(students), sharey=True)
        for axes, who in zip(panels, students, strict=True):
            points(axes, {teaching: values[who, teaching, base] for teaching in teachings})
            axes.set_title(who, loc="left", fontweight="bold", color=INK)
            axes.set_xlabel(title)
    who, teaching = _taught_other_labels(accuracy, base)
    panels = lower.subplots(1, 2, sharey=True)
    points(panels[0], {labels: accuracy[who, teaching, labels] for labels in worth})
    panels[0].set_title(f"{who}, {teaching}: other labels", loc="left", fontweight="bold", color=INK)
    panels[0].set_xlabel("accuracy on val, %")
    truth = [100 * known.label_truth for known in worth.values()]
    panels[1].barh(range(len(truth)), truth, color=PALE, height=0.5)
    for row, value in enumerate(truth):
        panels[1].text(value, row, f" {value:.1f}", va="center", color=INK)
    panels[1].set_xlim(0, 100)
    panels[1].set_title("label truth of these labels, %", loc="left", fontweight="bold", color=INK)
    _plain(panels[1])
    figure.savefig(path)
    plt.close(figure)


def points(axes: Axes, groups: Mapping[str, Sequence[float]]) -> None:
    """Every value of each group as a point in percent, and the mean with its 95 % interval beside them."""
    first = 100 * float(np.mean(next(iter(groups.values()))))
    axes.axvline(first, color=PALE, linewidth=0.8, linestyle=(0, (4, 3)))
    for row, values in enumerate(groups.values()):
        found = 100 * np.asarray(values)
        axes.plot(found, np.full(len(found), row + 0.17), "o", color=PALE, markersize=3.5, alpha=0.9)
        axes.errorbar(
            found.mean(), row - 0.12, xerr=_errors(found, 0.975), fmt="D", color=ACCENT, markersize=4.5, capsize=2.5
        )
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", colors=PALE, labelcolor=INK)
    axes.grid(axis="x", color=PALE, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _errors(values: Sequence[float] | np.ndarray, quantile: float) -> float:
    """The quantile of Student's t, in standard errors of the mean."""
    return float(students_t.ppf(quantile, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5


def _taught_other_labels(values: Values, base: str) -> tuple[str, str]:
    """The student and the teaching of those that learnt from other labels than base."""
    return next((who, teaching) for who, teaching, labels in values if labels != base)


def _of(values: Values, index: int) -> list[str]:
    return list(dict.fromkeys(key[index] for key in values))


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, in percent."""
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0 makes one zero of two
