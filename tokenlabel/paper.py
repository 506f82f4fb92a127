"""What does the published recipe make of the same labels? Dense targets, with a switch for each of its errors.

The reference code of Token Labeling (arXiv 2104.10858) keeps the top-k logits of each cell of a square map, and makes
of them, in this order,

    a map [C, h, w] of the logits, 0 for all other classes      0 is a logit: C − k phantom classes take part
    roi_align of the crop to the tokens, and to 1x1             logits are averaged, not probabilities
    softmax over the classes
    (1 − s + s / C) y + s / C                                   the sum is 1 + s / C

and it reads the map with rows and columns exchanged (`axes="swapped"`), and a map of the picture's centre as if it were
of the whole picture (`geometry="center"`). Neither is the default here. Train with `token_targets`; this is for
repeating published numbers, and for measuring what each of these steps costs: `LabeledImages(…, recipe="paper")` or
`recipe=Paper(axes="swapped", geometry="center")` for sparse targets, `paper_targets` for dense ones to the digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812 the field's own name
from torchvision.ops import roi_align

from storage import Box, LabelMap, Status
from storage.labelmap import no_class
from storage.scores import STEPS
from tokenlabel.align import BEYOND, ROUNDING, refuse_nowhere
from tokenlabel.errors import LabelError
from tokenlabel.sparse import COMPILED, refuse_grid
from tokenlabel.targets import TokenTargets
from tokenlabel.view import View
from tokenlabel.warp import Warp

Axes = Literal["right", "swapped"]
Geometry = Literal["box", "center"]

# A remainder below half a step of its code rests as 0.
_LEAST_REMAINDER = (0.5 / STEPS) ** 2
PAPER_KEEP = 64  # classes that a token of five logits a cell may meet, and seldom does


@dataclass(frozen=True, slots=True)
class Paper:
    """The recipe with its switches, for `LabeledImages`; see `paper_targets` for what each of them does.

    Its targets are sparse. A softmax gives all classes that a token does not meet one and the same probability, and so
    does the remainder of `TokenTargets`: they are those of `paper_targets` without smoothing, wherever `keep` holds all
    classes that a token meets. Smooth them with `TokenTargets.smoothed`, the sum of which is 1.
    """

    axes: Axes = "right"
    geometry: Geometry = "box"

    def __post_init__(self) -> None:
        """Refuse switches that there are not.

        Raises:
            LabelError: an unknown word.
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
        keep: int = PAPER_KEEP,
    ) -> TokenTargets:
        """The targets of training pictures that were cut from labelled source pictures; none of them is outside.

        Raises:
            LabelError: as `paper_targets` does, and where the tokens form no grid.
        """
        refuse_grid(tokens, keep)
        if not COMPILED:
            dense = paper_targets(
                labels, views, tokens, class_count=class_count, smoothing=0, axes=self.axes, geometry=self.geometry
            )
            likeliest = dense.topk(min(keep, class_count))
            outside = torch.zeros(dense.shape[:2], dtype=torch.bool)
            return TokenTargets(likeliest.indices.int(), likeliest.values, outside)
        from tokenlabel import kernel

        labels = _as_logits(labels, views, class_count)
        regions = [self._region(labels[n], _crop(view)) for n, view in enumerate(views)]
        # What is read of a map is said in its own coordinates, as if it were one of the whole picture.
        maps = replace(labels, boxes=np.tile(np.array(Box.whole().edges, np.float32), (len(views), 1)))
        found = kernel.published_targets(maps, regions, tokens, keep, class_count=class_count)
        return TokenTargets(*map(torch.from_numpy, found))

    def _region(self, label: LabelMap, view: View) -> View:
        """The part of a map that is read for a crop: the view that takes the crop's place, in the map's coordinates."""
        box = label.box.locate(_seen(label, view, self.geometry))
        box = box.mirrored() if view.mirrored else box  # the recipe turns the map about before it crops it
        if self.axes == "swapped":
            box = Box(box.left, box.top, box.right, box.bottom)
        h, w = label.grid  # its crops are one cell long at least
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
    """The published recipe's targets of training pictures that were cut from labelled source pictures.

    Where a crop reaches beyond the map, the outermost cells go on for half a cell, and all logits are 0 after that; no
    token is marked.

    Args:
        labels: of b source pictures, [b, h, w, k]; probabilities are made logits by `logits_of`.
        views: how each training picture was cut; crops and mirrors only.
        tokens: rows and columns of tokens of the model.
        class_count: C.
        smoothing: s.
        axes: "swapped" reads the crop's top and bottom as its left and right, and the other way round.
        geometry: "box" reads the map as what it is a map of. "center" takes the picture for what the map covers; a map
            of the whole picture, give or take the half cell of networks that begin at the first pixel, is cut to the
            square in its centre first.

    Returns:
        float32 [b, 1 + t, C]: place 0 is the picture as a whole, then its tokens, row by row. Each sums to 1 + s / C.

    Raises:
        LabelError: a picture has no label, or none of this size is known; a view that turns or bends; a class beyond C.
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
    """Logits that a label of probabilities may have come from, as the published recipe would have kept them.

    A softmax forgets what all logits have in common. A network's logits are about 0 on average, and so

        z_c = log p_c − 1/C · Σ log p        with p = r / (C − n) for each of the C − n classes that are not named

    A remainder r below 1.5e-5, which one byte cannot tell from none, is taken for that. The classes that are not
    named then have logits below the 0 that the recipe fills in for them; the fewer classes, the further below.

    Args:
        labels: [..., h, w, k], probabilities.
        class_count: C.

    Returns:
        the same classes with float32 logits; 0 where an entry names no class.
    """
    named = labels.scores > 0
    others = class_count - named.sum(-1)
    share = np.maximum(labels.remainder, _LEAST_REMAINDER) / np.maximum(others, 1)
    logarithms = np.log(np.where(named, labels.scores, 1), dtype=np.float64)
    mean = (logarithms.sum(-1) + others * np.log(share)) / class_count
    logits = np.where(named, logarithms - mean[..., None], 0)
    return replace(labels, scores=logits.astype(np.float32), kind="logit")


def paper_loss(
    picture_logits: torch.Tensor, token_logits: torch.Tensor, targets: torch.Tensor, *, token_weight: float = 0.5
) -> torch.Tensor:
    """`token_label_loss` for dense targets, a scalar in nats: both terms with the annotator's own labels.

    Args:
        picture_logits: [b, C].
        token_logits: [b, t, C], tokens row by row.
        targets: float [b, 1 + t, C], as `paper_targets` gives them.
        token_weight: the paper's β; the published code has 1.

    Raises:
        LabelError: the model has other tokens or classes than the targets.
    """
    b, t, class_count = token_logits.shape
    if targets.shape != (b, 1 + t, class_count):
        raise LabelError(
            f"the model gave logits for {b} pictures of {t} tokens and {class_count} classes, the targets are "
            f"{list(targets.shape)}; they must be [{b}, {1 + t}, {class_count}]"
        )
    token = F.cross_entropy(token_logits.float().flatten(0, 1), targets[:, 1:].flatten(0, 1))
    return F.cross_entropy(picture_logits.float(), targets[:, 0]) + token_weight * token


def _as_logits(labels: LabelMap, views: Sequence[View | Warp], class_count: int) -> LabelMap:
    """The labels of these views, as logits."""
    if len(labels) != len(views):
        raise LabelError(f"{len(views)} views were given for the labels of {len(labels)} pictures; each needs one")
    if (unlabelled := np.flatnonzero(labels.status != Status.LABELLED)).size:
        word = Status(int(labels.status[unlabelled[0]])).word
        raise LabelError(f"picture {unlabelled[0]} has no label: its status is {word}")
    refuse_nowhere(labels)
    named = labels.classes[labels.classes != no_class(labels.classes.dtype)]
    if named.max(initial=0) >= class_count:
        raise LabelError(f"the labels name class {named.max()}, of {class_count} that there are")
    return logits_of(labels, class_count=class_count) if labels.kind == "probability" else labels


def _pooled(
    label: LabelMap, view: View, tokens: tuple[int, int], *, class_count: int, axes: Axes, geometry: Geometry
) -> torch.Tensor:
    """The logits [1 + t, C] of one training picture, before the softmax."""
    h, w = label.grid
    region, dense = label.box.locate(_seen(label, view, geometry)), _dense(label, class_count)
    if view.mirrored:  # as there: the map is turned about before it is cropped, which matters if axes are swapped
        region, dense = region.mirrored(), dense.flip(-1)
    top, left, bottom, right = region.edges
    if axes == "swapped":
        top, left, bottom, right = left, top, right, bottom
    # Not `aligned`, which halves a pixel: it is taken off here. Crops under one cell wide become one cell wide.
    edges = [[0, left * w - 0.5, top * h - 0.5, right * w - 0.5, bottom * h - 0.5]]
    rois = torch.tensor(edges, dtype=torch.float32)
    pooled = [roi_align(dense[None], rois, size, sampling_ratio=-1, aligned=False) for size in ((1, 1), tokens)]
    return torch.cat([logits[0].flatten(1).T for logits in pooled])


def _dense(label: LabelMap, class_count: int) -> torch.Tensor:
    """The logits of one picture as a map of all classes, float32 [C, h, w], zero where there is none."""
    classes: NDArray[np.int64] = label.classes.astype(np.int64)
    named = classes != no_class(label.classes.dtype)
    index = torch.from_numpy(np.where(named, classes, class_count)).permute(2, 0, 1)
    logits = torch.from_numpy(label.scores.astype(np.float32)).permute(2, 0, 1)
    return torch.zeros(class_count + 1, *label.grid).scatter_(0, index, logits)[:class_count]


def _seen(label: LabelMap, view: View, geometry: Geometry) -> Box:
    """The part of the source picture that the recipe takes a crop to show."""
    return view.box if geometry == "box" else _taken_for_whole(label).place(view.box)


def _taken_for_whole(label: LabelMap) -> Box:
    """The part of the picture that geometry="center" takes for all of it."""
    off = np.abs(np.subtract(label.box.edges, Box.whole().edges)) * [*label.grid, *label.grid]
    if (off > BEYOND + ROUNDING).any():
        return label.box
    rows, columns = map(int, label.sizes)
    if not rows or not columns:
        raise LabelError('where the centre of a picture lies turns on its size, which the label lacks; use "box"')
    side = min(rows, columns)
    return Box.from_pixels((rows - side) / 2, (columns - side) / 2, side, side, (rows, columns))


def _crop(view: View | Warp) -> View:
    plain = view if isinstance(view, View) else view.view
    if plain is None or plain.flipped:
        raise LabelError("the published recipe crops and mirrors; this picture was also turned, bent, padded or erased")
    return plain
