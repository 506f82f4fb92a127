"""How does the whole straight line run? `make demo`: pictures, an annotator, labels, a look at them, two students."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from demo import annotator, scenes
from demo.teaching import TEACHINGS, accuracy, train, whole_pictures
from demo.truth import label_truth
from storage import open_store

OUT = Path("demo/out")
TAUGHT = {
    "class labels": TEACHINGS["class labels"],
    "class and token labels": TEACHINGS["ours, pictures taught their class"],
}


def say(text: str) -> None:
    """A heading, between progress bars."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def annotate(*arguments: object) -> None:
    """Run the command as a person would, and show it."""
    words = [str(argument) for argument in arguments]
    print("$ annotate", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "cli", *words], check=True)


def taught(name: str, line: int) -> float:
    """The accuracy on val of a student that was taught in this way; its progress bar has this line."""
    model = train(OUT / "images/train", OUT / "labels-train.zarr", TAUGHT[name], seed=0, bar=name, line=line)
    return accuracy(model, *whole_pictures(OUT / "images/val"))[0]


def main() -> None:
    """Everything, in order, from nothing: the figures are those of this run."""
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    images, checkpoint, sheet = OUT / "images", OUT / "annotator.safetensors", OUT / "sheet.png"
    stores = {split: OUT / f"labels-{split}.zarr" for split in scenes.SPLITS}

    say("1. Pictures: digits of scikit-learn on its photographs")
    scenes.write(OUT)

    say(f"2. Annotator: {annotator.MODEL}, trained on single digits")
    crop_accuracy = annotator.train(checkpoint)

    say("3. Labels: every picture, every location")
    for split, store in stores.items():
        kwargs = [word for key, value in annotator.MODEL_KWARGS.items() for word in ("--model-kwarg", f"{key}={value}")]
        annotate(
            "run", images / split, store, "--model", annotator.MODEL, *kwargs,
            "--checkpoint", checkpoint, "--input-size", 64, "--rows-per-shard", 256,
        )  # fmt: skip
        annotate("verify", store)

    say("4. A look at them")
    annotate("inspect", stores["val"])
    annotate("inspect", stores["val"], "--images", images / "val", "-o", sheet, "--count", 8)
    annotate("inspect", stores["val"], "--images", images / "val", "--html", OUT / "report.html")
    right, cells = label_truth(open_store(stores["val"]), OUT / "truth" / "val")

    say("5. Two students: the same start, pictures, crops, order and steps; without token labels and with them")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        accuracies = dict(zip(TAUGHT, pool.map(taught, TAUGHT, range(len(TAUGHT))), strict=True))

    figures = {
        "annotator_accuracy_on_single_digits": crop_accuracy,
        "label_truth": right / cells,
        "label_truth_cells": cells,
        **{f"student_accuracy_{name.replace(' ', '_')}": value for name, value in accuracies.items()},
        "seconds": round(time.monotonic() - started),
    }
    (OUT / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    say("Measured in this run")
    print(
        f"{crop_accuracy:.3f}  annotator: of single digits that it never saw, so many are named right\n"
        f"{right / cells:.3f}  label truth: of {cells:,} label cells inside a digit of val, so many name that digit\n"
        + "".join(
            f"{value:.3f}  student with {name}: accuracy on val, one seed\n" for name, value in accuracies.items()
        )
        + f"\nthe pictures are in {images}, the labels as a picture in {sheet}\n"
        f"the labels are in {' and '.join(map(str, stores.values()))}, all figures in {OUT / 'figures.json'}\n"
        f"{time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
