"""Where is a rectangle in a picture? A Box in unit coordinates, the only form in which rectangles are stored."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, edges in unit coordinates: (0, 0) is the picture's top left corner, (1, 1) its bottom right.

        0 ─────────────── x ──▶ 1
        │    left      right
        │ top ┌──────────┐          y runs down; edges lie between pixels,
        y     │          │          so row i of H pixels spans [i / H, (i + 1) / H]
        │ bottom ────────┘
        ▼
        1

    A box may reach beyond [0, 1]: a letterboxed picture is labelled together with its padding.

    Raises:
        ValueError: an edge is not finite, or the box has no area.
    """

    top: float
    left: float
    bottom: float
    right: float

    def __post_init__(self) -> None:
        """Check that the edges are finite and enclose an area."""
        if not all(map(math.isfinite, self.edges)):
            raise ValueError(f"the edges of a box must be finite numbers, not {self.edges}")
        if self.bottom <= self.top or self.right <= self.left:
            raise ValueError(
                f"a box runs from top to a larger bottom and from left to a larger right, but got top={self.top}, "
                f"left={self.left}, bottom={self.bottom}, right={self.right}"
            )

    @classmethod
    def whole(cls) -> Box:
        """The whole picture."""
        return cls(0.0, 0.0, 1.0, 1.0)

    @classmethod
    def from_edges(cls, edges: Iterable[float]) -> Box:
        """The box of four numbers in the order top, left, bottom, right."""
        return cls(*map(float, edges))

    @classmethod
    def from_pixels(cls, top: float, left: float, height: float, width: float, size: tuple[int, int]) -> Box:
        """The box of a rectangle in pixels of a picture of size (height, width) pixels."""
        rows, columns = size
        return cls(top / rows, left / columns, (top + height) / rows, (left + width) / columns)

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right."""
        return self.top, self.left, self.bottom, self.right

    @property
    def height(self) -> float:
        """As a fraction of the picture's height."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """As a fraction of the picture's width."""
        return self.right - self.left

    def to_outer(self, inner: Box) -> Box:
        """Convert `inner` from coordinates of this box to picture coordinates (a crop of a crop)."""
        return Box(
            self.top + inner.top * self.height,
            self.left + inner.left * self.width,
            self.top + inner.bottom * self.height,
            self.left + inner.right * self.width,
        )

    def to_inner(self, outer: Box) -> Box:
        """Convert `outer` from picture coordinates to coordinates of this box; undoes `to_outer`."""
        return Box(
            (outer.top - self.top) / self.height,
            (outer.left - self.left) / self.width,
            (outer.bottom - self.top) / self.height,
            (outer.right - self.left) / self.width,
        )

    def mirrored(self) -> Box:
        """The same box after the picture has been mirrored left to right."""
        return Box(self.top, 1 - self.right, self.bottom, 1 - self.left)

    def flipped(self) -> Box:
        """The same box after the picture has been turned upside down, top to bottom."""
        return Box(1 - self.bottom, self.left, 1 - self.top, self.right)
