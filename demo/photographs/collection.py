"""Which photographs has the demo, what do they show, and where? photographs.toml says it, and is checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storage import Box

FOLDER = Path(__file__).parent
PICTURES = FOLDER / "pictures"
_FINE = 1000  # rows and columns of the raster that measures the area of overlapping boxes


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One photograph, and what a person sees on it.

    name:       of the file, without its suffix
    class_name: a name that one class of ImageNet has alone
    boxes:      together they cover the objects of that class
    author, licence, source, package: who made it, how it may be used, and where it comes from

    Raises:
        ValueError: there is no box, or one reaches beyond the picture.
    """

    name: str
    class_name: str
    boxes: tuple[Box, ...]
    author: str
    licence: str
    source: str
    package: str

    def __post_init__(self) -> None:
        """Check that all boxes lie inside the picture."""
        if not self.boxes or any(min(box.edges) < 0 or max(box.edges) > 1 for box in self.boxes):
            raise ValueError(f"{self.name}: give one box or more, with edges in [0, 1]; not {self.boxes}")

    @property
    def key(self) -> str:
        """Its key in a store."""
        return f"{self.name}.jpg"

    def contains(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Whether points [n] of the picture, in unit coordinates, lie in one of the boxes: bool [n]."""
        return np.any([(b.top <= y) & (y < b.bottom) & (b.left <= x) & (x < b.right) for b in self.boxes], axis=0)

    @property
    def area(self) -> float:
        """The fraction of the picture that the boxes cover together."""
        middles = (np.arange(_FINE) + 0.5) / _FINE
        y, x = np.meshgrid(middles, middles, indexing="ij")
        return float(self.contains(y, x).mean())


def photographs() -> tuple[Photograph, ...]:
    """All photographs, in the order of their names.

    Raises:
        ValueError: a file is not listed, a listed file does not exist, or `Photograph` refuses an entry.
    """
    listed = tomllib.loads((FOLDER / "photographs.toml").read_text(encoding="utf-8"))
    files = {path.stem for path in PICTURES.glob("*.jpg")}
    if differing := files ^ listed.keys():
        raise ValueError(f"photographs.toml and {PICTURES} differ by {sorted(differing)}")
    return tuple(
        Photograph(
            name=name,
            class_name=entry.pop("class"),
            boxes=tuple(map(Box.from_edges, entry.pop("boxes"))),
            **entry,
        )
        for name, entry in sorted(listed.items())
    )
