"""How is the small store made that comes with the package? `python -m demo.photographs.example [FOLDER]`

The photographs are labelled by one network, lightened, and finalized, in storage/photographs.zarr or in FOLDER. On one
machine all is the same to the byte, but for the time in the commit record, and the SHA-256 of what holds it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import storage
from annotate import LocalWorkers, Recipe, open_images, run
from demo.photographs import networks
from demo.photographs.collection import PICTURES
from storage import Lightness, Publication, finalize, lighten, open_store

EXAMPLE = Path(storage.__file__).parent / "photographs.zarr"
_INPUT_SIZE = 448  # pixels: 14 x 14 locations
_LIGHTNESS = Lightness(k=3, coarse=8)  # what docs/sharing.md measures as nearly free
_PUBLICATION = Publication(
    name="Photographs",
    source="the 36 photographs of tokenlabel's demo, whose authors and licences are in demo/photographs/LICENCES.md",
    licence="Apache-2.0",
)


def make(address: Path) -> None:
    """Make the store at an address where nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        size = (_INPUT_SIZE, _INPUT_SIZE)
        weights = networks.convert(0, Path(folder))
        recipe = Recipe.for_model(networks.model(0), checkpoint=weights, input_size=size)
        pictures, full = open_images(PICTURES), f"{folder}/full.zarr"
        # One shard has few files, and one commit record.
        run(pictures, full, recipe, LocalWorkers(), rows_per_shard=len(pictures.keys))
        lighten(open_store(full), str(address), _LIGHTNESS)
    finalize(open_store(address, writable=True), _PUBLICATION)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE
    shutil.rmtree(target, ignore_errors=True)
    make(target)
