"""What are sparse targets? A few classes with probabilities for each token, in numpy and without torch."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tokenlabel.errors import LabelError


class SparseTargets(NamedTuple):
    """The targets of b training pictures.

    Position 0 is the picture as a whole, positions 1… are its tokens, row by row.

    classes:       int32 [b, 1 + t, m], in no order that matters
    probabilities: float32 [b, 1 + t, m], 0 where a position has fewer than m classes
    outside:       bool [b, 1 + t], positions of which more than half lies beyond the label map or shows nothing of the
                   picture
    """

    classes: NDArray[np.int32]
    probabilities: NDArray[np.float32]
    outside: NDArray[np.bool_]

    @classmethod
    def blank(cls, *shape: int, keep: int) -> Self:
        """Targets that name nothing yet, with these axes before the last."""
        return cls(np.zeros((*shape, keep), np.int32), np.zeros((*shape, keep), np.float32), np.zeros(shape, bool))

    def __repr__(self) -> str:
        *batch, positions, m = self.classes.shape
        pictures = f"pictures={batch[0]}, " if batch else ""
        return f"SparseTargets({pictures}tokens={positions - 1}, classes={m})"


def check_grid(tokens: Any, keep: Any) -> None:
    """Check that `tokens` is (rows, columns) and `keep` a positive integer.

    Raises:
        LabelError: `tokens` is not a pair of integers of at least 1, or `keep` is not such an integer.
    """
    sides = tokens if isinstance(tokens, tuple | list) else ()
    whole = (isinstance(each, int | np.integer) and not isinstance(each, bool) for each in (*sides, keep))
    if len(sides) != 2 or not all(whole) or min(*sides, keep) < 1:
        raise LabelError(
            f"tokens must be (rows, columns) and keep a number of classes, all integers of at least 1, not {tokens!r} "
            f"and {keep!r}"
        )
