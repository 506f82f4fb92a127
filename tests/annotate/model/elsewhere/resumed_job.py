"""Does a job that was done in parts give the bytes of one that was done at once? Both are run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from annotate.images import FolderImages
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.tiny_networks import noise


def four_pictures(folder: Path) -> FolderImages:
    """A folder of noise."""
    folder.mkdir()
    for number in range(4):
        Image.fromarray(noise(number)).save(folder / f"{number}.png")
    return FolderImages(folder)


def assert_parts_give_the_same_bytes(images: FolderImages, folder: Path, recipe: Callable[[], Recipe]) -> None:
    """Label into `folder`/whole at once, and into `folder`/parts one shard and then the rest, by a recipe for each."""
    written = []
    for name, parts in (("whole", [None]), ("parts", [range(1), None])):
        store = folder / name
        for part in parts:
            run(images, str(store), recipe(), LocalWorkers(), k=2, rows_per_shard=2, part=part, allow_global=True)
        files = [path for path in store.rglob("c/**/*") if path.is_file()]
        files = [path for path in files if "record" not in path.parts]  # who labelled it, and when
        written.append({path.relative_to(store): path.read_bytes() for path in files})
    assert len(written[0]) > 2
    assert written[0] == written[1]
