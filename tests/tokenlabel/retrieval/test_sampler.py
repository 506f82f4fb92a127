"""Are batches P classes of K pictures, the same for the same seed; and what cannot form one?"""

from __future__ import annotations

import pytest

from tokenlabel import LabelError
from tokenlabel.retrieval import ClassBatches

CLASSES = [0] * 6 + [1] * 5 + [2] * 2 + [3] + [4] * 9


def test_a_batch_is_some_pictures_of_each_of_some_classes() -> None:
    seen = set()
    for batch in ClassBatches(CLASSES, classes=3, each=4, steps=50):
        classes = [CLASSES[index] for index in batch]
        assert [classes.count(one) for one in set(classes)] == [4, 4, 4]
        assert all(len({*batch[start : start + 4]}) == 4 for start in (0, 4, 8) if classes[start] != 2)
        seen.update(batch)
    assert {CLASSES[index] for index in seen} == {0, 1, 2, 4}  # the only picture of 3 has no partner
    assert len(seen) == len(CLASSES) - 1


def test_a_class_with_fewer_pictures_repeats_all_of_them() -> None:
    for batch in ClassBatches([0, 0, 1, 1, 1], classes=2, each=5, steps=5):
        assert sorted([*batch].count(index) for index in (0, 1)) == [2, 3]
        repeats = {index: [draw.repeat for draw in batch if draw == index] for index in batch}
        assert all(found == [*range(len(found))] for found in repeats.values())


def test_batches_are_a_function_of_seed_and_step() -> None:
    whole = [*ClassBatches(CLASSES, classes=2, each=2, steps=6, seed=3)]
    later = ClassBatches(CLASSES, classes=2, each=2, steps=6, seed=3, first=4)
    assert ([*later], len(later)) == (whole[4:], 2)
    assert whole != [*ClassBatches(CLASSES, classes=2, each=2, steps=6, seed=4)]
    assert [draw.epoch for draw in whole[5]] == [5] * 4


def test_what_has_no_pairs_is_refused() -> None:
    with pytest.raises(LabelError, match="a batch of 1 classes with 4 pictures of each has no pairs of different cla"):
        ClassBatches(CLASSES, classes=1, each=4, steps=1)
    with pytest.raises(LabelError, match="a batch of 4 classes with 1 pictures of each has no pairs of one class; gi"):
        ClassBatches(CLASSES, classes=4, each=1, steps=1)
    with pytest.raises(LabelError, match="1 of 2 classes have two pictures or more, but a batch takes 2; give fewer"):
        ClassBatches([0, 0, 1], classes=2, each=2, steps=1)
