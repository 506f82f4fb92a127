"""What do real weights give with a vocabulary? `python -m benchmarks.annotate.vocabulary PICTURES TRUTH …`

TRUTH has a PNG file of one channel for each picture of PICTURES, by the same name: at each pixel 0 for none of the
names, n for the n-th name of the vocabulary, 255 for what does not count, as VOC, Pascal Context and ADE20K have it.
The labels are read at each pixel of the truth, without smoothing:

    mIoU       the mean over names of intersection / union, over all pixels; with the background, and without it
    pointing   of each picture and name in it, whether the location of its highest probability lies on it

No figure of it is in the documentation, since no weights came with this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from annotate.errors import AnnotateError, PictureError
from annotate.images.decode import decode
from annotate.model.annotator import Annotator
from annotate.model.elsewhere.vocabulary import Threshold, Vocabulary
from annotate.model.recipe import Recipe
from demo.markdown import table
from storage import Box

IGNORED = 255
_SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True)
class Score:
    """What labels have in common with truth.

    names:        of the vocabulary
    intersection: pixels of each class, the background first, that label and truth agree on, int64 [1 + names]
    union:        pixels that either has
    hits, points: of the pointing game, for each name, int64 [names]
    pictures:     how many
    """

    names: tuple[str, ...]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    hits: NDArray[np.int64]
    points: NDArray[np.int64]
    pictures: int

    def miou(self, *, background: bool) -> float:
        """The mean over the classes that occur, of intersection / union; NaN if none does."""
        first = 0 if background else 1
        occurs = self.union[first:] > 0
        shares = self.intersection[first:][occurs] / self.union[first:][occurs]
        return float(shares.mean()) if len(shares) else float("nan")

    @property
    def pointing(self) -> float:
        """The mean over names of the fraction of hits; NaN if no name occurs."""
        occurs = self.points > 0
        return float((self.hits[occurs] / self.points[occurs]).mean()) if occurs.any() else float("nan")


def measure(annotator: Annotator, names: tuple[str, ...], pictures: Path, truth: Path) -> Score:
    """The score of an annotator that keeps all names.

    Raises:
        ClickException: there is no picture with truth, or a truth has other classes.
    """
    intersection, union = np.zeros((2, len(names) + 1), np.int64)
    hits, points = np.zeros((2, len(names)), np.int64)
    count = 0
    for picture, mask in _pairs(pictures, truth, len(names)):
        label = annotator([picture])[0]
        probabilities = np.zeros((*label.scores.shape[:2], len(names) + 1))
        np.put_along_axis(probabilities, label.classes.astype(np.int64) + 1, label.scores, -1)
        probabilities[..., 0] = np.clip(1 - probabilities[..., 1:].sum(-1), 0, None)
        found = _at_pixels(probabilities.argmax(-1), Box.from_edges(label.boxes), mask.shape)
        counts = mask != IGNORED
        for each in range(len(names) + 1):
            is_found, is_there = (found == each) & counts, (mask == each) & counts
            intersection[each] += (is_found & is_there).sum()
            union[each] += (is_found | is_there).sum()
        for name in range(len(names)):
            if (there := mask == name + 1).any():
                peak = np.zeros(probabilities.shape[:2], np.int64)
                peak.flat[probabilities[..., name + 1].argmax()] = 1
                where = _at_pixels(peak, Box.from_edges(label.boxes), mask.shape) == 1
                points[name] += 1
                hits[name] += int(2 * (where & there).sum() >= where.sum() > 0)
        count += 1
    if not count:
        raise click.ClickException(f"no picture of {pictures} has a PNG file of the same name in {truth}")
    return Score(names, intersection, union, hits, points, count)


def describe(score: Score) -> str:
    """The figures as a table in Markdown."""
    return table(
        ["pictures", "mIoU with background", "mIoU of the names", "pointing game"],
        [
            [
                f"{score.pictures:,}",
                f"{100 * score.miou(background=True):.1f} %",
                f"{100 * score.miou(background=False):.1f} %",
                f"{100 * score.pointing:.1f} %",
            ]
        ],
    )


def _pairs(pictures: Path, truth: Path, count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    for file in sorted(each for each in pictures.iterdir() if each.suffix.lower() in _SUFFIXES):
        if not (mask := truth / f"{file.stem}.png").is_file():
            continue
        with Image.open(mask) as opened:
            found = np.asarray(opened)
        if found.ndim != 2 or found.dtype != np.uint8 or (found[found != IGNORED] > count).any():
            raise click.ClickException(
                f"{mask} must have one channel of 8 bits, with numbers from 0 to {count}, or 255"
            )
        try:
            picture = decode(file.read_bytes())
        except PictureError as error:
            raise click.ClickException(f"{file}: {error.status.word}, {error.reason}") from error
        yield picture, found


def _at_pixels(values: NDArray[np.int64], box: Box, size: tuple[int, ...]) -> NDArray[np.int64]:
    """The value of the location that each pixel's middle lies in; 0 where it lies in none."""
    indices, inside = [], []
    for side, start, length, count in zip(
        size, (box.top, box.left), (box.height, box.width), values.shape, strict=True
    ):
        at = np.floor(((np.arange(side) + 0.5) / side - start) / length * count).astype(np.int64)
        indices.append(at.clip(0, count - 1))
        inside.append((at >= 0) & (at < count))
    found = values[np.ix_(*indices)]
    return np.where(inside[0][:, None] & inside[1][None], found, 0)


def _threshold(text: str) -> Threshold:
    return "own" if text == "own" else float(text)


@click.command()
@click.argument("pictures", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("truth", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", required=True, help="hf:NAME of an encoder.")
@click.option(
    "--vocabulary", "file", type=click.Path(path_type=Path), required=True, help="The names, in truth's order."
)
@click.option("--threshold", type=_threshold, help="The cosine of a background without a name, or own.")
@click.option("--head", type=click.Choice(["local", "frozen"]), default="local")
@click.option("--input-size", type=int, help="Side of the input, pixels.")
def main(
    pictures: Path,
    truth: Path,
    model: str,
    file: Path,
    threshold: Threshold | None,
    head: Literal["local", "frozen"],
    input_size: int | None,
) -> None:
    """Measure mIoU and pointing of MODEL with a vocabulary on PICTURES with TRUTH."""
    from dataclasses import replace

    side = None if input_size is None else (input_size, input_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        words = Vocabulary.read(file, threshold)
        recipe = replace(Recipe.for_model(model, vocabulary=words, input_size=side), head=head)
        annotator = Annotator(recipe, k=len(words.names), device=device)
    except AnnotateError as error:
        raise click.ClickException(str(error)) from error
    print(describe(measure(annotator, words.names, pictures, truth)))


if __name__ == "__main__":
    main()
