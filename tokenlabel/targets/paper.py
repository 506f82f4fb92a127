"""What targets does the published method make of the same labels? Dense ones, with a switch for each of its errors.

The reference code of Token Labeling (arXiv 2104.10858) keeps the top-k logits of each location of a square map, and
makes of them, in this order:

    a map [C, h, w] of the logits, 0 for all other classes      0 is a logit: C − k absent classes take part
    roi_align of the crop to the tokens, and to 1x1             logits are averaged, not probabilities
    softmax over the classes
    (1 − s + s / C) y + s / C                                   the sum is 1 + s / C

and it reads the map with rows and columns exchanged (`axes="swapped"`), and a map of the picture's centre as if it were
of the whole picture (`geometry="center"`). Neither is the default here. Train with `token_targets`; this is for
repeating published numbers, and for measuring what each of these steps costs: `LabeledImages(…, rule=Paper())` or
`rule=Paper(axes="swapped", geometry="center")` for sparse targets, `paper_targets` for dense ones to the digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import roi_align

from storage import Box, LabelMap, Status
from storage.alignment.region import BEYOND, ROUNDING
from storage.encoding.scores import LEAST_REMAINDER
from storage.labelmap import no_class
from tokenlabel.errors import LabelError
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.align import check_boxes
from tokenlabel.targets.reading import COMPILED
from tokenlabel.targets.sparse import check_grid
from tokenlabel.targets.token_targets import TokenTargets

Axes = Literal["right", "swapped"]
Geometry = Literal["box", "center"]


@final
@dataclass(frozen=True, slots=True)
class Paper:
    """The published method as a rule for `LabeledImages`; see `paper_targets` for what each switch does.

    Its targets are sparse. A softmax gives all classes that a token does not see the same probability, and so does the
    remainder of `TokenTargets`: they are those of `paper_targets` without smoothing, wherever `keep` is enough for all
    classes that a token sees. Smooth them with `TokenTargets.smoothed`, which keeps the sum at 1.
    """

    default_keep: ClassVar[int] = 64  # five logits a location: a token seldom sees as many classes
    reads_logits: ClassVar[bool] = True

    axes: Axes = "right"
    geometry: Geometry = "box"

    def __post_init__(self) -> None:
        """Check the switches.

        Raises:
            LabelError: an unknown value.
        """
        if self.axes not in ("right", "swapped") or self.geometry not in ("box", "center"):
            raise LabelError(
                f"axes must be 'right' or 'swapped' and geometry 'box' or 'center', not {self.axes!r}, "
                f"{self.geometry!r}"
            )

    def targets(
        self,
        labels: LabelMap,
        views: Sequence[View | Warp],
        tokens: tuple[int, int],
        *,
        class_count: int,
        keep: int = default_keep,
    ) -> TokenTargets:
        """The targets of training pictures that were cut from labelled source pictures; none of them is outside.

        Raises:
            LabelError: as `paper_targets` does, and where `tokens` is not (rows, columns).
        """
        check_grid(tokens, keep)
        if not COMPILED:
            dense = paper_targets(
                labels, views, tokens, class_count=class_count, smoothing=0, axes=self.axes, geometry=self.geometry
            )
            likeliest = dense.topk(min(keep, class_count))
            outside = torch.zeros(dense.shape[:2], dtype=torch.bool)
            return TokenTargets(likeliest.indices.int(), likeliest.values, outside)
        from tokenlabel.targets import align_numba as kernel

        labels = _as_logits(labels, views, class_count)
        regions = [self._region(labels[n], _crop(view)) for n, view in enumerate(views)]
        # Regions are in the map's own coordinates, so that the map counts as one of the whole picture.
        maps = replace(labels, boxes=np.tile(np.array(Box.whole().edges, np.float32), (len(views), 1)))
        found = kernel.published_targets(maps, regions, tokens, keep, class_count=class_count)
        return TokenTargets(*map(torch.from_numpy, found))

    def _region(self, label: LabelMap, view: View) -> View:
        """The part of a map that is read for a crop: a view in the map's own coordinates."""
        box = label.box.to_inner(_seen(label, view, self.geometry))
        box = box.mirrored() if view.mirrored else box  # the method mirrors the map before it crops it
        if self.axes == "swapped":
            box = Box(box.left, box.top, box.right, box.bottom)
        h, w = label.grid  # crops are at least one cell long
        box = Box(box.top, box.left, max(box.bottom, box.top + 1 / h), max(box.right, box.left + 1 / w))
        return View(box.mirrored() if view.mirrored else box, view.mirrored)


def paper_targets(
    labels: LabelMap,
    views: Sequence[View | Warp],
    tokens: tuple[int, int],
    *,
    class_count: int,
    smoothing: float = 0.1,
    axes: Axes = "right",
    geometry: Geometry = "box",
) -> torch.Tensor:
    """The published method's targets of training pictures that were cut from labelled source pictures.

    Where a crop reaches beyond the map, the outermost cells are extended by half a cell, and all logits are 0 beyond
    that; no token is marked as outside.

    Args:
        labels: labels of b source pictures, [b, h, w, k]; probabilities become logits by `logits_of`.
        views: how each training picture was cut; crops and mirrors only.
        tokens: rows and columns of tokens of the model.
        class_count: C.
        smoothing: s.
        axes: "swapped" reads the crop's top and bottom as its left and right, and vice versa.
        geometry: "box" uses the part of the picture that the map covers. "center" takes that part for the whole
            picture; for a map of the whole picture (within the half cell of networks whose grid begins at the first
            pixel), it takes the square in the picture's centre.

    Returns:
        float32 [b, 1 + t, C]: position 0 is the picture as a whole, then its tokens, row by row. Each sums to
        1 + s / C.

    Raises:
        LabelError: a picture has no label, or its size is needed and unknown; a view that rotates or bends; a
            class number of C or more.
    """
    labels = _as_logits(labels, views, class_count)
    pooled = torch.stack(
        [
            _pooled(labels[n], _crop(view), tokens, class_count=class_count, axes=axes, geometry=geometry)
            for n, view in enumerate(views)
        ]
    )
    even = smoothing / class_count
    return pooled.softmax(-1) * (1 - smoothing + even) + even


def logits_of(labels: LabelMap, *, class_count: int) -> LabelMap:
    """Logits that a label of probabilities may have come from, as the published method would have kept them.

    A softmax does not depend on a constant added to all logits. A network's logits are about 0 on average, and so

        z_c = log p_c − 1/C · Σ log p        with p = r / (C − n) for each of the C − n classes that are not named

    A remainder r below 1.5e-5, which one byte cannot tell from 0, counts as 1.5e-5. The classes that are not
    named then have logits below the 0 that the method fills in for them; the fewer classes, the further below.

    Args:
        labels: [..., h, w, k], probabilities.
        class_count: C.

    Returns:
        the same classes with float32 logits; 0 where an entry names no class.
    """
    named = labels.scores > 0
    others = class_count - named.sum(-1)
    share = np.maximum(labels.remainder, LEAST_REMAINDER) / np.maximum(others, 1)
    logarithms = np.log(np.where(named, labels.scores, 1), dtype=np.float64)
    mean = (logarithms.sum(-1) + others * np.log(share)) / class_count
    logits = np.where(named, logarithms - mean[..., None], 0)
    return replace(labels, scores=logits.astype(np.float32), kind="logit")


def _as_logits(labels: LabelMap, views: Sequence[View | Warp], class_count: int) -> LabelMap:
    """The labels that go with these views, as logits."""
    if len(labels) != len(views):
        raise LabelError(f"{len(views)} views were given for the labels of {len(labels)} pictures; give one for each")
    if (unlabelled := np.flatnonzero(labels.status != Status.LABELLED)).size:
        word = Status(int(labels.status[unlabelled[0]])).word
        raise LabelError(f"picture {unlabelled[0]} has no label: its status is {word}; leave it out")
    check_boxes(labels)
    named = labels.classes[labels.classes != no_class(labels.classes.dtype)]
    if named.max(initial=0) >= class_count:
        raise LabelError(
            f"the labels name class {named.max()}, but class_count is {class_count}; give the class count of the store"
        )
    return logits_of(labels, class_count=class_count) if labels.kind == "probability" else labels


def _pooled(
    label: LabelMap, view: View, tokens: tuple[int, int], *, class_count: int, axes: Axes, geometry: Geometry
) -> torch.Tensor:
    """The logits [1 + t, C] of one training picture, before the softmax."""
    h, w = label.grid
    region, dense = label.box.to_inner(_seen(label, view, geometry)), _dense(label, class_count)
    if view.mirrored:  # as published: the map is mirrored before it is cropped, which matters if axes are swapped
        region, dense = region.mirrored(), dense.flip(-1)
    top, left, bottom, right = region.edges
    if axes == "swapped":
        top, left, bottom, right = left, top, right, bottom
    # Not `aligned`, which would subtract half a pixel: that is done here. Narrower crops become one cell wide.
    edges = [[0, left * w - 0.5, top * h - 0.5, right * w - 0.5, bottom * h - 0.5]]
    rois = torch.tensor(edges, dtype=torch.float32)
    pooled = [roi_align(dense[None], rois, size, sampling_ratio=-1, aligned=False) for size in ((1, 1), tokens)]
    return torch.cat([logits[0].flatten(1).T for logits in pooled])


def _dense(label: LabelMap, class_count: int) -> torch.Tensor:
    """The logits of one picture as a map of all classes, float32 [C, h, w], 0 where a location lacks the class."""
    classes: NDArray[np.int64] = label.classes.astype(np.int64)
    named = classes != no_class(label.classes.dtype)
    index = torch.from_numpy(np.where(named, classes, class_count)).permute(2, 0, 1)
    logits = torch.from_numpy(label.scores.astype(np.float32)).permute(2, 0, 1)
    return torch.zeros(class_count + 1, *label.grid).scatter_(0, index, logits)[:class_count]


def _seen(label: LabelMap, view: View, geometry: Geometry) -> Box:
    """The part of the source picture that the method takes a crop to show."""
    return view.box if geometry == "box" else _taken_for_whole(label).to_outer(view.box)


def _taken_for_whole(label: LabelMap) -> Box:
    """The region that geometry="center" treats as the whole picture."""
    off = np.abs(np.subtract(label.box.edges, Box.whole().edges)) * [*label.grid, *label.grid]
    if (off > BEYOND + ROUNDING).any():
        return label.box
    rows, columns = map(int, label.sizes)
    if not rows or not columns:
        raise LabelError(
            'where the centre of a picture lies depends on its size, which the label does not say; use geometry="box"'
        )
    side = min(rows, columns)
    return Box.from_pixels((rows - side) / 2, (columns - side) / 2, side, side, (rows, columns))


def _crop(view: View | Warp) -> View:
    plain = view if isinstance(view, View) else view.view
    if plain is None or plain.flipped:
        raise LabelError(
            "the published method only crops and mirrors; this picture was also rotated, bent, padded or erased. Leave "
            "out such transforms, or train with rule=BLENDED"
        )
    return plain
