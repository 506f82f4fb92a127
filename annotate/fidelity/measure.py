"""How far is a crop's target from the annotator's own answer on that crop? By size of crop, on a random sample.

Training reads the target of a crop from the label of the whole picture. Methods that store crops ask the annotator for
each crop instead: it sees the crop at its full input size, and nothing beside it. Here both are made and compared:

    target  q   the mean of the stored label over the crop, by the alignment that training uses; of its classes the 8
                most probable are kept, as `LabeledImages` keeps them
    label   p   the mean of the annotator's label of the crop alone, over its locations: all classes are kept
    answer  p   the network's own answer for the crop alone, softmax(mean of its logits / T), mean over the passes

    KL(p ‖ q) = Σ p log(p / q)          nats, over all classes; what q does not name is spread: see distribution.py

Where a remainder belongs to no class, such as that of a vocabulary's background, "none of these" is one class more.

The label differs from the target by the context and the scale that locations see, and by the classes that the store
left out; the answer also because a mean of probabilities is not a softmax of mean logits. For crops of all of the
picture (area 1) nothing but these last two is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError, PictureError
from annotate.fidelity.crops import random_crop
from annotate.fidelity.distribution import answer_in, divergence
from annotate.fidelity.figures import AtSize, Closeness, Fidelity
from annotate.images.source import Picture
from annotate.inspect.overlay import picture_of
from annotate.inspect.selection import choose_rows, refuse_strangers
from annotate.inspect.survey import refuse_logits
from annotate.model.annotator import Annotator
from storage import Box, LabelMap, LabelStore, Status

AREAS = 0.08, 0.15, 0.25, 0.5, 0.75, 1.0
_TOGETHER = 16  # crops that are labelled at once: all their classes are kept
_FEWEST = 2  # pictures
KEEP = 8  # classes of a target: the default of `tokenlabel.LabeledImages`


def fidelity(
    store: LabelStore,
    read: Callable[[str], Picture],
    annotator: Annotator,
    *,
    pictures: int = 64,
    crops: int = 2,
    areas: Sequence[float] = AREAS,
    keep: int | None = KEEP,
    seed: int = 0,
    on_picture: Callable[[int], object] = lambda count: None,
) -> Fidelity:
    """Compare the targets of random crops with the annotator's answers on them.

    Args:
        store: the labels; probabilities.
        read: returns a picture of the store by its key.
        annotator: the one that made the store; see `annotator_of_store`.
        pictures: how many are chosen at random of those that have a label.
        crops: of each picture and size; the whole picture is one.
        areas: the sizes of crops, as fractions of a picture's area, in (0, 1].
        keep: classes of a target, as training keeps them; None keeps all that the label names in the crop.
        seed: of the choice.
        on_picture: called with 1 after each picture.

    Raises:
        AnnotateError: fewer than two pictures can be read, all are of another collection, or scores are logits.
    """
    if not areas or not all(0 < area <= 1 for area in areas):
        raise AnnotateError(f"the areas of crops must be fractions of the picture's, in (0, 1], not {[*areas]}")
    refuse_logits(store)
    rows = choose_rows(store, pictures, seed=seed)
    if rows:
        refuse_strangers(store, rows, read)
    areas = sorted({*areas})
    found: list[NDArray[np.float64]] = []
    left_out = 0
    for row in rows:
        label = store.read([row])[0]
        try:
            picture = np.asarray(picture_of(store, row, label, read))
        except PictureError:
            left_out += 1
        else:
            rng = np.random.default_rng([seed, row])
            found.append(_of_picture(picture, label, annotator, areas, crops, keep, rng))
        on_picture(1)
    if len(found) < _FEWEST:
        raise AnnotateError(
            f"cannot compare: of {len(rows):,} pictures with a label that were chosen, only {len(found)} can be read; "
            f"at least {_FEWEST} are needed"
        )
    return _summed(np.stack(found), areas, left_out=left_out, seed=seed)


def _of_picture(
    picture: NDArray[np.uint8],
    label: LabelMap,
    annotator: Annotator,
    areas: Sequence[float],
    crops: int,
    keep: int | None,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """For each area and crop KL and agreement, of the label and of the answer: [areas, crops, 4], NaN where none."""
    size = picture.shape[0], picture.shape[1]
    count = annotator.class_count + annotator.has_remainder  # "none of these" is the last
    places = [
        (n, m, random_crop(rng, size, area)) for n, area in enumerate(areas) for m in range(crops if area < 1 else 1)
    ]
    found = np.full((len(areas), crops, 4), np.nan)
    for start in range(0, len(places), _TOGETHER):
        some = places[start : start + _TOGETHER]
        shown = [np.ascontiguousarray(picture[where]) for _, _, where in some]
        labels, answers = annotator(shown), _own_answers(annotator, shown)
        for number, (n, m, where) in enumerate(some):
            target = answer_in(label, _box(where, size), count, keep=keep)
            if labels.status[number] != Status.LABELLED or target is None:
                continue
            own = answer_in(labels[number], Box.whole(), count)
            for k, answer in enumerate((own, None if answers is None else answers[number])):
                if answer is not None:
                    agrees = float(answer.argmax() == target.argmax())
                    found[n, m, 2 * k : 2 * k + 2] = divergence(answer, target), agrees
    return found


def _box(where: tuple[slice, slice], size: tuple[int, int]) -> Box:
    (top, bottom), (left, right) = ((each.start, each.stop) for each in where)
    return Box.from_pixels(top, left, bottom - top, right - left, size)


def _own_answers(annotator: Annotator, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64] | None:
    """Their own answers for pictures, [n, classes and remainder]; None where a network has none beside its map."""
    if any(each.deviation is None for each in annotator.consistency):
        return None
    logits: Any = annotator.picture_logits(pictures, with_rest=True)
    probabilities: NDArray[np.float64] = (logits.double() / annotator.recipe.temperature).softmax(-1).mean(0).numpy()
    if annotator.has_remainder:
        named, rest = np.split(probabilities, [annotator.class_count], axis=1)
        return np.concatenate([named, rest.sum(1, keepdims=True)], 1)
    return probabilities


def _summed(found: NDArray[np.float64], areas: Sequence[float], *, left_out: int, seed: int) -> Fidelity:
    """The figures of all pictures, from [pictures, areas, crops, 4]."""
    sizes, outside = [], 0
    for n, area in enumerate(areas):
        of_size = found[:, n] if area < 1 else found[:, n, :1]
        compared = np.isfinite(of_size[..., 0])
        outside += int((~compared).sum())
        label, answer = (_closeness(of_size[..., 2 * k : 2 * k + 2]) for k in (0, 1))
        if label is None:
            raise AnnotateError(
                f"crops of {area:.0%} of the pictures cannot be compared: they lie beyond the labels; give larger areas"
            )
        sizes.append(AtSize(area=area, crops=int(compared.sum()), label=label, answer=answer))
    return Fidelity(pictures=len(found), left_out=left_out, outside=outside, seed=seed, sizes=tuple(sizes))


def _closeness(values: NDArray[np.float64]) -> Closeness | None:
    """Of The figures of [pictures, crops, 2], KL and agreement; None where fewer than two pictures have any."""
    with_any = values[np.isfinite(values).all(-1).any(-1)]
    if len(with_any) < _FEWEST:
        return None
    return Closeness.of(*np.nanmean(with_any, axis=1).T)
