"""How far are targets of crops from answers on the crops? `python -m benchmarks.annotate.fidelity`

The demo's photographs are labelled by EfficientNet-Lite, in one pass and at three scales, and the demo's scenes by its
annotator. Each store is then compared with its annotator's answers on random crops, as `annotate fidelity` does.
About 25 minutes on one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import torch
from PIL import Image

from annotate.fidelity import AtSize, Fidelity, Line, annotator_of_store, curve, fidelity
from annotate.images import FolderImages, by_key
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from demo import annotator, scenes
from demo.markdown import replace_between, table
from demo.photographs import networks
from demo.photographs.act import INPUT_SIZE
from demo.photographs.collection import PICTURES
from storage import open_store

SIZES = (0, 2)  # of EfficientNet-Lite
SCALES = (0.8, 1.0, 1.2)
SCENES, CROPS = 64, 1
BEGIN, END = (
    "<!-- python -m benchmarks.annotate.fidelity --write docs/annotators.md -o docs/fidelity.png -->",
    "<!-- end of fidelity -->",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An annotator and its pictures, by its name in the table."""

    name: str
    pictures: Path
    recipe: Recipe
    weights: Path

    def measured(self, folder: Path) -> Fidelity:
        """The fidelity of a new store of these pictures, in this folder."""
        address = folder / f"{self.name}.zarr"
        run(FolderImages(self.pictures), str(address), self.recipe, LocalWorkers(), allow_global=True)
        store = open_store(address)
        return fidelity(store, by_key(self.pictures), annotator_of_store(store, [self.weights]), crops=CROPS)


def cases(folder: Path) -> Iterator[Case]:
    """All that is compared; weights and scenes are made in this folder."""
    for number in SIZES:
        name, weights = f"lite{number}", networks.convert(number, folder)
        side = (INPUT_SIZE, INPUT_SIZE)
        recipe = Recipe.for_model(networks.model(number), checkpoint=weights, input_size=side)
        yield Case(name=name, pictures=PICTURES, recipe=recipe, weights=weights)
        yield Case(name=f"{name}, 3 scales", pictures=PICTURES, recipe=replace(recipe, scales=SCALES), weights=weights)
    scenes.write(folder, splits={"val": SCENES})
    weights = folder / "digits.safetensors"
    annotator.train(weights)
    recipe = Recipe.for_model(
        annotator.MODEL, checkpoint=weights, input_size=(64, 64), model_kwargs=annotator.MODEL_KWARGS
    )
    yield Case(name="the demo's digits", pictures=folder / "images" / "val", recipe=recipe, weights=weights)


def as_table(found: list[tuple[str, Fidelity]]) -> str:
    """All figures as a table in Markdown."""
    heads = ["annotator", "area", "KL, crop's label", "same class", "KL, network's answer", "same class"]
    return table(heads, [[name, *_cells(each)] for name, one in found for each in one.sizes])


def drawn(found: list[tuple[str, Fidelity]]) -> Image.Image:
    """The figures against the label of the crop, as curves."""
    lines = [Line(name=name, points=[(each.area, each.label) for each in one.sizes]) for name, one in found]
    return curve("Targets of crops, read from the store, against the annotator's label of the crop itself", lines)


def _cells(each: AtSize) -> list[str]:
    answer = ("", "") if each.answer is None else each.answer.cells
    return [f"{each.area:.0%}", *each.label.cells, *answer]


@click.command()
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True), help="Replace the table of this page.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw the curves in a PNG file.")
def main(page: Path | None, output: Path | None) -> None:
    """Print the table, or write it into a page."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found = [(case.name, case.measured(folder)) for case in cases(folder)]
    if output is not None:
        drawn(found).save(output, format="PNG", optimize=True)
    written = as_table(found)
    if page is None:
        print(written)
        return
    replace_between(page, BEGIN, END, f"\n\n{written}\n")


if __name__ == "__main__":
    main()
