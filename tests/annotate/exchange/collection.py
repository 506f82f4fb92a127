"""What do the tests of exchange work on? Pictures, a tree of label files beside them, and a store to import into."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from annotate.exchange import Imported, import_tree
from annotate.exchange.tree_names import own_name
from annotate.images import FolderImages

TYPES = {"tokenlabeling": torch.float16, "relabel": torch.float32}


def a_label(seed: int = 0, *, k: int = 3, grid: tuple[int, int] = (4, 6), classes: int = 50, dtype=torch.float16):
    """[2, k, h, w] as the published generators write it: the best logits of each location, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    logits, ids = (10 * torch.randn(classes, *grid, generator=generator)).topk(k, dim=0)
    return torch.stack([logits, ids.float()]).to(dtype)


def a_picture(path: Path, size: tuple[int, int] = (8, 6)) -> None:
    """A JPEG file of (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 30, 90)).save(path, "JPEG")


def save(label: object, path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(label, path, **options)


class Collection:
    """A folder of pictures, a tree of labels beside it, and a store to import into."""

    def __init__(self, root: Path) -> None:
        self.root, self.images, self.tree, self.store = root, root / "images", root / "tree", root / "labels.zarr"
        self.tree.mkdir()

    def picture(self, *keys: str) -> None:
        for key in keys:
            a_picture(self.images / key)

    def labelled(self, *keys: str, **options: object) -> None:
        """Pictures, each with a label of its own."""
        for key in keys:
            self.picture(key)
            save(a_label(sum(map(ord, key)), **options), self.tree / own_name(key))

    def bring_in(self, **options) -> Imported:
        options = {"layout": "tokenlabeling", "geometry": "squash", "class_count": 50, "rows_per_shard": 2, **options}
        return import_tree(self.tree, FolderImages(self.images), str(self.store), **options)

    def failure(self, **options) -> tuple[str, str]:
        """Status and reason of the one picture that could not be labelled."""
        [(_, status, reason)] = self.bring_in(**options).failures
        return status, reason


def wrong(collection: Collection) -> Path:
    return collection.tree / "cat/c.pt"
