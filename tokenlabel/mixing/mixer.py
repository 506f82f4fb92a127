"""Which pictures of a batch are mixed at random, and how? By MixUp, CutMix or MixToken, from seed, epoch and index."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import numpy as np
import torch

from storage import Box
from tokenlabel.errors import LabelError
from tokenlabel.losses.class_label import SoftLabel
from tokenlabel.mixing.mix import NOTHING, Mix, Part
from tokenlabel.targets.sparse import check_grid
from tokenlabel.targets.token_targets import TokenTargets

MixMode = Literal["batch", "pair", "element"]
Partners = Literal["reversed", "permuted"]

_STREAM = 1  # a stream of random numbers other than that of crops: batch n must not reuse the numbers of picture n


@dataclass(frozen=True, slots=True)
class Mixer:
    """MixUp and CutMix in turn, or MixToken; draws a `Mix` for each batch.

    It replaces `timm.data.Mixup` and torchvision's `MixUp` and `CutMix`. These change the pixels and the class label,
    but not the targets of tokens: a pasted token would be taught what it hides. This one has timm's options and
    changes all three in the same way, in the training loop:

        pixels, targets, label = mixer(pixels, targets, label, epoch=epoch, index=index)

    MixToken mixes inside the model; see `Mix` for the step.

    grid, class_count: rows and columns of the model's tokens, and C
    mixup:       α of λ ~ Beta(α, α), the weight of a picture against its partner's; 0 for no MixUp
    cutmix:      α of λ; the box has sides of int(side · √(1 − λ)) pixels, is centred on any pixel and clipped at the
                 edges. Labels are mixed by the area of the clipped box, not by λ; 0 for no CutMix
    switch:      the probability of CutMix where both are on
    mixtoken:    α of λ; as CutMix, with a box of whole tokens; 0 for no MixToken. The paper's: mixup=0, cutmix=0,
                 mixtoken=1
    probability: how likely each draw mixes at all
    mode:        one draw for the whole "batch", for each "pair" of partners, or for each "element"
    partners:    "reversed", the first with the last, or "permuted", random pairs. Of an odd number of pictures, one is
                 its own partner
    seed:        each draw is a pure function of (seed, epoch, index of the batch)

    Raises:
        LabelError: an option out of its range, or options that exclude each other.
    """

    grid: tuple[int, int]
    class_count: int
    _: KW_ONLY
    mixup: float = 0.8
    cutmix: float = 1.0
    switch: float = 0.5
    mixtoken: float = 0.0
    probability: float = 1.0
    mode: MixMode = "batch"
    partners: Partners = "reversed"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        check_grid(self.grid, self.class_count)
        if self.mode not in get_args(MixMode) or self.partners not in get_args(Partners):
            raise LabelError(
                f"mode must be one of {get_args(MixMode)} and partners one of {get_args(Partners)}, not {self.mode!r} "
                f"and {self.partners!r}"
            )
        alphas = self.mixup, self.cutmix, self.mixtoken
        if not (min(alphas) >= 0 and any(alphas) and math.isfinite(sum(alphas))):
            raise LabelError(f"mixup, cutmix and mixtoken must be at least 0, and one of them above 0, not {alphas}")
        if not (0 <= self.switch <= 1 and 0 <= self.probability <= 1):
            raise LabelError(f"switch and probability must be in [0, 1], not {self.switch} and {self.probability}")
        if self.mixtoken and (self.mixup or self.cutmix):
            raise LabelError("MixToken does not mix pixels: give mixup=0 and cutmix=0 with it")
        if self.mixtoken and self.mode == "element":
            raise LabelError('MixToken swaps boxes between partners: its mode must be "batch" or "pair"')

    def draw(self, count: int, size: tuple[int, int], *, epoch: int, index: int) -> Mix:
        """The mix of a batch.

        Args:
            count: pictures in it.
            size: their height and width, pixels.
            epoch, index: number of the pass over the data, and of the batch in it.
        """
        rng = np.random.default_rng([self.seed, epoch, index, _STREAM])
        order = rng.permutation(count) if self.partners == "permuted" else np.arange(count)
        partners = np.empty(count, np.int64)
        partners[order] = order[::-1]
        draws = {"batch": min(count, 1), "pair": (count + 1) // 2, "element": count}[self.mode]
        drawn = [self._part(rng, size) for _ in range(draws)]
        parts = [NOTHING] * count
        for rank, i in enumerate(order.tolist()):
            parts[i] = drawn[{"batch": 0, "pair": min(rank, count - 1 - rank), "element": rank}[self.mode]]
        return Mix(tuple(partners.tolist()), tuple(parts), self.grid, "tokens" if self.mixtoken else "pixels")

    def __call__(
        self, pixels: torch.Tensor, targets: TokenTargets, label: torch.Tensor, *, epoch: int, index: int
    ) -> tuple[torch.Tensor, TokenTargets, SoftLabel]:
        """A batch after mixing.

        Args:
            pixels: float [b, 3, H, W].
            targets: targets of the same b pictures.
            label: int64 [b], class numbers.
            epoch, index: see `draw`.

        Returns:
            pixels, targets with twice as many entries, and classes [b, 2] with probabilities [b, 2].

        Raises:
            LabelError: with MixToken, which happens inside the model; or the targets are of another number of pictures.
        """
        if self.mixtoken:
            raise LabelError("MixToken mixes inside the model: draw the mix, and give it to the model too (see Mix)")
        mix = self.draw(len(pixels), (pixels.shape[-2], pixels.shape[-1]), epoch=epoch, index=index)
        return mix.pixels(pixels), mix.targets(targets, class_count=self.class_count), mix.label(label)

    def _part(self, rng: np.random.Generator, size: tuple[int, int]) -> Part:
        if rng.random() >= self.probability:
            return NOTHING
        if self.mixtoken:
            return _cut(rng, self.mixtoken, self.grid)
        if self.cutmix and (not self.mixup or rng.random() < self.switch):
            return _cut(rng, self.cutmix, size)
        return Part(Box.whole(), 1 - float(rng.beta(self.mixup, self.mixup)))


def _cut(rng: np.random.Generator, alpha: float, size: tuple[int, int]) -> Part:
    side = math.sqrt(1 - rng.beta(alpha, alpha))
    top, bottom = _span(rng, int(size[0] * side), size[0])
    left, right = _span(rng, int(size[1] * side), size[1])
    if top == bottom or left == right:
        return NOTHING
    return Part(Box(top / size[0], left / size[1], bottom / size[0], right / size[1]), 1.0)


def _span(rng: np.random.Generator, length: int, side: int) -> tuple[int, int]:
    start = int(rng.integers(side)) - length // 2
    return max(start, 0), min(start + length, side)
