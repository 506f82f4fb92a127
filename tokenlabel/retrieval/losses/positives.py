"""Which pictures belong together? Those of one class; or by a store's labels, of one most probable class, or alike.

    overlap of two labels    Σ_c √(p_c q_c)    1 for equal distributions, 0 where they share no class

Overlap is Bhattacharyya's coefficient, so that one matrix product compares a batch with a memory. Who is positive by
labels is our design: nothing in the paper uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from storage import LabelStore
from tokenlabel.dataset.matching import labelled_rows
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View
from tokenlabel.targets.token_targets import token_targets

_AT_ONCE = 256  # labels that are read together


def positive_pairs(ours: torch.Tensor, theirs: torch.Tensor, *, threshold: float = 0.5) -> torch.Tensor:
    """Which pictures belong together: bool [n, m].

    Args:
        ours: int64 [n], class numbers; or float [n, C], distributions.
        theirs: the same of m pictures.
        threshold: for distributions, the overlap from which on they belong together, in (0, 1].

    Raises:
        LabelError: one are numbers and the other distributions, or of other classes; the threshold is out of range.

    Example:
        >>> positive_pairs(torch.tensor([0, 1]), torch.tensor([1, 1, 0])).tolist()
        [[False, False, True], [True, True, False]]
    """
    if ours.shape[1:] != theirs.shape[1:] or ours.ndim not in (1, 2):
        raise LabelError(
            f"identities are class numbers [n] or distributions [n, C], the same for both, not {list(ours.shape)} and "
            f"{list(theirs.shape)}"
        )
    if ours.ndim == 1:
        return ours[:, None] == theirs
    if not 0 < threshold <= 1:
        raise LabelError(f"the threshold of overlap must be in (0, 1], not {threshold}; 1 asks for equal labels")
    # Of equal distributions the sum of float32 products may be a little below 1.
    return ours.float().sqrt() @ theirs.float().sqrt().T >= threshold - 1e-5


def machine_identities(
    store: LabelStore, keys: Sequence[str], *, by: Literal["argmax", "distribution"] = "argmax"
) -> torch.Tensor:
    """What a store's labels say of whole pictures: int64 [n], the most probable class; or float32 [n, C].

    Args:
        store: the labels; their probabilities are averaged over each picture.
        keys: of the pictures.
        by: "argmax", or "distribution" for overlaps, which takes 4 n C bytes.

    Raises:
        KeyNotFoundError: the store has no row for a key.
        LabelError: a picture has no label, or one that does not cover half of it; the scores are logits.
    """
    rows = labelled_rows(store, keys, "refuse").tolist()
    count, found = store.schema.class_count, []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        targets = token_targets(store.read(some), [View.whole()] * len(some), (1, 1))
        beyond = targets.outside[:, 0] | ~(targets.probabilities[:, 0] > 0).any(-1)
        if beyond.any():
            key = keys[start + int(beyond.nonzero()[0])]
            raise LabelError(
                f"the label of {key} in {store.address} names no class for the picture as a whole: it does not cover "
                'half of it. Label it with --crop squash, which covers all of it, or give positives="class"'
            )
        dense = targets.dense(count)[:, 0]
        found.append(dense.argmax(1) if by == "argmax" else dense)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)
