"""How local are the labels of known annotators? `python -m benchmarks.annotate.locality [--write FILE.md]`

The demo's photographs are labelled by EfficientNet-Lite at two sizes, and the demo's scenes by annotators of which the
truth is known. About 2 minutes on 2 cores, most of them to train the annotators of the scenes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import torch

from annotate.images import FolderImages
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.locality import Locality, locality
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from demo import annotator, scenes
from demo.markdown import replace_between, table
from demo.photographs import networks
from demo.photographs.collection import PICTURES
from demo.truth import label_truth
from storage import open_store

SIZES = (224, 448)
STEPS = {"good": annotator.STEPS, "middling": 100, "poor": 30}  # those of `make study`
SCENES, MOSAICS_OF_SCENES = 400, 64
BEGIN, END = "<!-- python -m benchmarks.annotate.locality --write docs/annotators.md -->", "<!-- end of locality -->"


def on_photographs(folder: Path) -> Iterator[tuple[str, Annotator, Locality]]:
    """Each network at each size, on the demo's photographs."""
    source = FolderImages(PICTURES)
    for number in networks.SIZES:
        weights = networks.convert(number, folder)
        for side in SIZES:
            recipe = Recipe.for_model(networks.model(number), checkpoint=weights, input_size=(side, side))
            labels = Annotator(recipe, k=5)
            yield f"lite{number}", labels, locality(source, labels)


def on_scenes(folder: Path) -> Iterator[tuple[str, float, Locality]]:
    """Each of the study's annotators on the demo's scenes, with its label truth."""
    scenes.write(folder, splits={"val": SCENES})
    source = FolderImages(folder / "images" / "val")
    for name, steps in STEPS.items():
        weights = folder / f"{name}.safetensors"
        annotator.train(weights, steps=steps)
        recipe = Recipe.for_model(
            annotator.MODEL, checkpoint=weights, input_size=(64, 64), model_kwargs=annotator.MODEL_KWARGS
        )
        address = folder / f"{name}.zarr"
        run(source, str(address), recipe, LocalWorkers(), allow_global=True)
        right, locations = label_truth(open_store(address), folder / "truth" / "val")
        yield name, right / locations, locality(source, Annotator(recipe, k=5), mosaics=MOSAICS_OF_SCENES)


def measured() -> str:
    """Both tables in Markdown."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        photographs = [
            [
                name,
                "x".join(map(str, labels.recipe.networks[0].input_size)),
                "x".join(map(str, labels.grid)),
                *_figures(found),
            ]
            for name, labels, found in on_photographs(folder)
        ]
        of_scenes = [[name, f"{truth:.3f}", *_figures(found)] for name, truth, found in on_scenes(folder)]
    figures = ["locality", "alone", "kept"]
    return "\n".join(
        [
            table(["on the photographs", "input", "locations", *figures], photographs),
            table(["on the demo's scenes", "label truth", *figures], of_scenes),
        ]
    )


def _figures(found: Locality) -> list[str]:
    if found.value is None or found.interval is None or found.alone is None or found.kept is None:
        return [str(found), "", ""]
    (low, high), (kept, least, most) = found.interval, found.kept
    return [
        f"{found.value:.3f} ({low:.3f} to {high:.3f})",
        f"{found.alone:.3f}",
        f"{kept:.0%} ({least:.0%} to {most:.0%})",
    ]


@click.command()
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True), help="Replace the tables of this page.")
def main(page: Path | None) -> None:
    """Print the tables, or write them into a page."""
    torch.set_num_threads(1)
    found = measured()
    if page is None:
        print(found)
        return
    replace_between(page, BEGIN, END, f"\n\n{found}\n")


if __name__ == "__main__":
    main()
