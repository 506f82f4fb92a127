"""Does the whole pipeline run? `make demo`: photographs; then digits, from an annotator to two students."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from demo import annotator, scenes, teaching
from demo.photographs.act import play
from demo.truth import label_truth
from storage import open_store

OUT = Path("demo/out")


def say(text: str) -> None:
    """Print a heading, between progress bars."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def annotate(*arguments: object) -> None:
    """Print an `annotate` command and run it."""
    words = [str(argument) for argument in arguments]
    print("$ annotate", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "cli", *words], check=True)


def main() -> None:
    """Run all steps in order, from an empty folder."""
    started = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    images, checkpoint, sheet = OUT / "images", OUT / "annotator.safetensors", OUT / "sheet.png"
    stores = {split: OUT / f"labels-{split}.zarr" for split in scenes.SPLITS}

    say("0. Photographs, labelled by networks that know ImageNet's 1,000 classes")
    (OUT / "photographs").mkdir(parents=True)
    photographs = play(annotate, OUT / "photographs")

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

    say("4. Inspection")
    annotate("inspect", stores["val"])
    annotate("inspect", stores["val"], "--images", images / "val", "-o", sheet, "--count", 8)
    annotate("inspect", stores["val"], "--images", images / "val", "--html", OUT / "report.html")
    right, locations = label_truth(open_store(stores["val"]), OUT / "truth" / "val")

    say("5. Two students: the same start, pictures, crops, order and steps; without token labels and with them")
    accuracies = teaching.train_pair(OUT)

    figures = {
        "photographs": photographs,
        "annotator_accuracy_on_single_digits": crop_accuracy,
        "label_truth": right / locations,
        "label_truth_cells": locations,
        **{f"student_accuracy_{name.replace(' ', '_')}": value for name, value in accuracies.items()},
        "seconds": round(time.monotonic() - started),
    }
    (OUT / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    say("Measured in this run")
    print(
        f"{crop_accuracy:.3f}  annotator: fraction of unseen single digits that it names\n"
        f"{right / locations:.3f}  label truth: fraction of {locations:,} locations inside digits that name the digit\n"
        + "".join(
            f"{value:.3f}  student with {name}: accuracy on val, one seed\n" for name, value in accuracies.items()
        )
        + f"\nthe pictures are in {images}, the labels as a picture in {sheet}\n"
        f"the labels are in {' and '.join(map(str, stores.values()))}, all figures in {OUT / 'figures.json'}\n"
        f"{time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
