"""What is a label? For every location of a picture, the most probable classes and their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from storage.geometry import Box
from storage.status import Status

ScoreKind = Literal["probability", "logit"]

# Rounding of float32 sums over k probabilities.
_MASS_TOLERANCE = 1e-4
_ARRAYS = ("classes", "scores", "boxes", "sizes", "status")


def class_dtype(class_count: int) -> np.dtype[np.unsignedinteger]:
    """The smallest type for ids of this many classes and for "no class", which is its largest value."""
    return np.dtype(np.uint16 if class_count <= np.iinfo(np.uint16).max else np.uint32)


def no_class(dtype: np.dtype[np.unsignedinteger]) -> int:
    """The id that stands for "no class": the largest value of the type of class ids, uint16 or uint32.

    Examples:
        >>> no_class(np.dtype(np.uint16))
        65535
        >>> no_class(np.dtype(np.uint32))
        4294967295
    """
    return int(np.iinfo(dtype).max)


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """The labels of a picture, or with leading axes of many: valid by construction, indexable, stackable.

    classes: uint16 or uint32 [..., h, w, k], class ids, best first; the type's largest value means "no class".
    scores:  float32 [..., h, w, k], probabilities in [0, 1]. 1 minus their sum is the remainder: the probability of
             all classes that are not among the k. Or, where `kind` is "logit", float16 or float32 logits as another
             tool wrote them, which say nothing about the other classes.
    boxes:   float32 [..., 4], top, left, bottom, right of the part of the picture that the h x w grid covers, in unit
             coordinates (see `Box`); NaN where there is no label.
    sizes:   uint32 [..., 2], height and width of the source picture in pixels; 0 where it is unknown.
    status:  uint8 [...], a `Status`. Rows that are not LABELLED hold no class anywhere.
    kind:    "probability" or "logit".

    Raises:
        ValueError: shapes do not belong together, scores are not probabilities, or there is a label where the status
            says that there is none.
    """

    classes: NDArray[np.unsignedinteger]
    scores: NDArray[np.floating[Any]]
    boxes: NDArray[np.float32]
    sizes: NDArray[np.uint32]
    status: NDArray[np.uint8]
    kind: ScoreKind = "probability"

    def __post_init__(self) -> None:
        """Check that the arrays belong together and hold a label map."""
        lead, grid = self.classes.shape[:-3], self.classes.shape[-3:]
        if self.classes.ndim < 3 or min(grid) < 1:
            raise ValueError(f"classes must have the axes [..., h, w, k], each at least 1, not {self.classes.shape}")
        expected = {"scores": (*lead, *grid), "boxes": (*lead, 4), "sizes": (*lead, 2), "status": lead}
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"{name} must have the shape {shape} to go with classes {(*lead, *grid)}, not {found}")
        if self.classes.dtype not in (np.uint16, np.uint32):
            raise ValueError(f"classes must be uint16 or uint32, not {self.classes.dtype}")
        if self.kind == "probability":
            self._check_probabilities()
        elif np.isnan(self.scores).any():
            raise ValueError("logits must be numbers, but some are NaN")
        unlabelled = self.status != Status.LABELLED
        if (self.classes[unlabelled] != no_class(self.classes.dtype)).any() or self.scores[unlabelled].any():
            raise ValueError("rows that are not labelled must hold no class and no score")
        if np.isnan(self.boxes[~unlabelled]).any():
            raise ValueError("labelled rows must have a box")

    def _check_probabilities(self) -> None:
        mass = self.scores.sum(-1)
        if not (self.scores.min(initial=0) >= 0 and mass.max(initial=0) <= 1 + _MASS_TOLERANCE):
            raise ValueError(
                f"scores must be probabilities that sum to at most 1 at each location, "
                f"but the smallest is {self.scores.min():g} and the largest sum {mass.max():g}"
            )

    @classmethod
    def trusted(
        cls,
        classes: NDArray[np.unsignedinteger],
        scores: NDArray[np.floating[Any]],
        boxes: NDArray[np.float32],
        sizes: NDArray[np.uint32],
        status: NDArray[np.uint8],
        kind: ScoreKind,
    ) -> Self:
        """A label map of values that were checked before they were written. It does not check them again."""
        label = object.__new__(cls)
        _set_classes(label, classes)
        _set_scores(label, scores)
        _set_boxes(label, boxes)
        _set_sizes(label, sizes)
        _set_status(label, status)
        _set_kind(label, kind)
        return label

    @classmethod
    def unlabelled(cls, status: Status, *, grid: tuple[int, int], k: int, class_count: int) -> LabelMap:
        """The label of one picture that could not be labelled."""
        dtype = class_dtype(class_count)
        return cls(
            classes=np.full((*grid, k), no_class(dtype), dtype),
            scores=np.zeros((*grid, k), np.float32),
            boxes=np.full(4, np.nan, np.float32),
            sizes=np.zeros(2, np.uint32),
            status=np.array(status, np.uint8),
        )

    @classmethod
    def stack(cls, labels: Sequence[LabelMap]) -> LabelMap:
        """Labels of one shape as one, with a new first axis."""
        arrays = {name: np.stack([getattr(label, name) for label in labels]) for name in _ARRAYS}
        return cls(**arrays, kind=labels[0].kind)

    def __repr__(self) -> str:
        """The types and shapes of its arrays, not their values."""
        arrays = (
            f"{name} {array.dtype} {list(array.shape)}"
            for name, array in (("classes", self.classes), ("scores", self.scores))
        )
        labelled, count = int((self.status == Status.LABELLED).sum()), self.status.size
        return f"LabelMap({', '.join(arrays)}, {self.kind}, {labelled:,} of {count:,} labelled)"

    def __getitem__(self, index: object) -> LabelMap:
        """The labels at this index of the leading axes, as numpy indexes them."""
        arrays = {name: np.asarray(getattr(self, name)[index]) for name in _ARRAYS}
        if arrays["classes"].shape[-3:] != self.classes.shape[-3:]:
            raise IndexError(f"only the leading axes {self.status.shape} of label maps can be indexed")
        return LabelMap.trusted(**arrays, kind=self.kind)

    def __len__(self) -> int:
        """The length of the first leading axis."""
        if not self.status.ndim:
            raise TypeError("a single label map has no length; only a batch has one")
        return len(self.status)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the label grid."""
        return self.classes.shape[-3], self.classes.shape[-2]

    @property
    def k(self) -> int:
        """How many classes a location has at most."""
        return self.classes.shape[-1]

    @property
    def remainder(self) -> NDArray[np.float32]:
        """Probability that the k classes leave to all others: float32 [..., h, w] in [0, 1].

        Raises:
            TypeError: the scores are logits.
        """
        if self.kind != "probability":
            raise TypeError(
                "cannot compute the remainder of logits: they say nothing about the other classes; check `kind`"
            )
        return np.clip(1 - self.scores.sum(-1), 0, 1)

    @property
    def box(self) -> Box:
        """The part of the picture that the grid of this single label covers."""
        if self.boxes.ndim != 1:
            raise TypeError(
                f"cannot give one box for a batch {self.status.shape} of label maps; index it first, or use `boxes`"
            )
        return Box.from_edges(self.boxes)


# The slots of the frozen dataclass, looked up once: `trusted` sets them for every label that is read.
_set_classes, _set_scores, _set_boxes, _set_sizes, _set_status, _set_kind = (
    getattr(LabelMap, field.name).__set__ for field in fields(LabelMap)
)
