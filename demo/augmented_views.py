"""What is test-time augmentation worth? `python -m demo.augmented_views demo/out`, after `make demo`.

Each variant labels the val scenes; truth and calibration are over the label locations wholly inside a digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from annotate.images import FolderImages
from annotate.jobs.calibrate import calibrate, calibration_error
from annotate.model.annotator import Annotator
from annotate.model.network import Network
from annotate.model.recipe import Recipe
from demo import annotator, markdown, scenes
from demo.truth import digit_of_locations
from storage import LabelMap

BATCH = 50


@dataclass(frozen=True, slots=True)
class Quality:
    """What the labels of a recipe are worth.

    passes: forward passes a picture; truth: fraction of the locations inside a digit that name it; nll: mean negative
    log-likelihood of that digit, nats; error: expected calibration error, in 15 bins of confidence.
    """

    name: str
    passes: int
    truth: float
    nll: float
    error: float


def variants(checkpoints: Sequence[Path], images: Path, *, count: int = 1000) -> dict[str, Recipe]:
    """One pass, and each way to improve on it, by name; the temperature is fitted on pictures of the train split."""
    first, second = (
        Network.of(annotator.MODEL, checkpoint=path, input_size=(64, 64), model_kwargs=annotator.MODEL_KWARGS)
        for path in checkpoints
    )
    one = Recipe(networks=(first,))
    fitted = calibrate(FolderImages(images / "train"), Annotator(one, k=1), scenes.CLASS_NAMES, count=count)
    everything = replace(one, networks=(first, second), flip=True, scales=(0.8, 1.0, 1.2))
    return {
        "one pass": one,
        "`--flip`": replace(one, flip=True),
        "`--scales 0.8,1.0,1.2`": replace(one, scales=(0.8, 1.0, 1.2)),
        "two networks": replace(one, networks=(first, second)),
        "all of these": everything,
        f"`--temperature {fitted.temperature:.2f}`": replace(one, temperature=round(fitted.temperature, 2)),
    }


def judge(name: str, recipe: Recipe, images: Path, truth: Path, *, at_most: int | None = None) -> Quality:
    """Label the scenes of a split, and compare the labels with the truth."""
    network, source = Annotator(recipe, k=len(scenes.CLASS_NAMES)), FolderImages(images)
    keys, found, digits = source.keys[:at_most], [], []
    for start in tqdm(range(0, len(keys), BATCH), desc=name, leave=False):
        batch = keys[start : start + BATCH]
        labels = network([np.asarray(Image.open(images / key).convert("RGB")) for key in batch])
        truths = [digit_of_locations(truth, key, labels[n].box, network.grid) for n, key in enumerate(batch)]
        of_locations = np.stack(truths)
        inside = of_locations != scenes.BACKGROUND
        found.append(_by_class(labels)[inside])
        digits.append(of_locations[inside])
    probabilities, classes = torch.from_numpy(np.concatenate(found)), torch.from_numpy(np.concatenate(digits)).long()
    return Quality(
        name=name,
        passes=recipe.passes,
        truth=float((probabilities.argmax(-1) == classes).double().mean()),
        nll=float(-probabilities[torch.arange(len(classes)), classes].log().mean()),
        error=calibration_error(probabilities, classes),
    )


def _by_class(labels: LabelMap) -> np.ndarray:
    """Probabilities [n, h, w, classes] in the order of the classes, of labels that hold all of them."""
    found = np.zeros(labels.scores.shape, np.float64)
    np.put_along_axis(found, labels.classes.astype(np.int64), labels.scores, -1)
    return found


def table(qualities: Sequence[Quality]) -> str:
    """The figures in Markdown."""
    rows = [[one.name, str(one.passes), f"{one.truth:.3f}", f"{one.nll:.3f}", f"{one.error:.3f}"] for one in qualities]
    return markdown.table(["", "passes", "label truth", "negative log-likelihood, nats", "calibration error"], rows)


@click.command()
@click.argument("out", type=click.Path(path_type=Path, exists=True))
def main(out: Path) -> None:
    """Train a second annotator, and print what each variant does to truth and calibration."""
    checkpoints = [out / "annotator.safetensors", out / "annotator-2.safetensors"]
    if not checkpoints[1].exists():
        annotator.train(checkpoints[1], seed=1)
    recipes = variants(checkpoints, out / "images")
    print(table([judge(name, recipe, out / "images/val", out / "truth/val") for name, recipe in recipes.items()]))


if __name__ == "__main__":
    main()
