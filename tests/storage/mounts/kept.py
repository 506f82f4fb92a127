"""Are the labels that were read those that were written? A class whose probability rounds to zero is not kept."""

from __future__ import annotations

import numpy as np

from storage import LabelMap


def are_kept(read: LabelMap, written: LabelMap) -> bool:
    known = read.scores > 0
    same = np.array_equal(read.classes[known], written.classes[known]) and np.array_equal(read.sizes, written.sizes)
    return bool(same and known.mean() > 0.5)
