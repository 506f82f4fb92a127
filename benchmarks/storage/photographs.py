"""Which maps has a real annotator made? Those of the demo's photographs: `python -m benchmarks.storage.photographs`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from annotate import Annotator, Recipe
from annotate.images.decode import decode
from benchmarks.reference import PHOTOGRAPHS
from demo.photographs import networks
from demo.photographs.act import INPUT_SIZE
from demo.photographs.collection import PICTURES, photographs

_SIZES, _K = (0, 2), 5  # EfficientNet-Lite0 and -Lite2
_LEAST = np.float32(1e-30)  # a probability of 0 has no logarithm


def write(path: Path = PHOTOGRAPHS) -> None:
    """Label the photographs with two networks, and write the labels before they are coded.

    The file has `classes` uint16 and `log_probabilities` float16, both [map, rank, y, x]; the maps of one network come
    before those of the other, so that the entropy bound codes the one by the counts of the other.
    """
    pictures = [decode((PICTURES / each.key).read_bytes()) for each in photographs()]
    found = []
    with tempfile.TemporaryDirectory(prefix="tokenlabel-benchmark-") as folder:
        for size in _SIZES:
            weights = networks.convert(size, Path(folder))
            recipe = Recipe.for_model(networks.model(size), checkpoint=weights, input_size=(INPUT_SIZE, INPUT_SIZE))
            annotator = Annotator(recipe, k=_K)
            found += [annotator([picture])[0] for picture in pictures]
    logs = np.log(np.maximum([label.scores for label in found], _LEAST))
    short = logs.astype(np.float16)
    short = np.where(short > logs, np.nextafter(short, np.float16(-np.inf)), short)  # else some would sum to above 1
    classes = np.array([label.classes for label in found], np.uint16)
    np.savez_compressed(path, classes=classes.transpose(0, 3, 1, 2), log_probabilities=short.transpose(0, 3, 1, 2))
    print(f"wrote {path}: {len(found)} maps, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    write()
