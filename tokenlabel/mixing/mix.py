"""Which pictures of a batch are mixed, where and how much? A Mix says it once, for pixels, tokens, targets and labels.

Each picture i has a partner j, and takes a box of it with a weight w. Inside the box x_i becomes (1 − w) x_i + w x_j.

    MixUp     arXiv 1710.09412               the box is the whole picture, w = 1 − λ
    CutMix    arXiv 1905.04899               the box is cut out of the partner's pixels, w = 1
    MixToken  arXiv 2104.10858, section 3.2  the box is cut out of the partner's tokens, inside the model, w = 1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from storage import Box
from tokenlabel.errors import LabelError
from tokenlabel.losses.class_label import SoftLabel
from tokenlabel.mixing.token_swap import TokenSwap
from tokenlabel.targets.token_targets import TokenTargets

Level = Literal["pixels", "tokens"]

_ROUNDING = 1e-6  # in pixels or tokens
_LEAST = 1e-12


class Part(NamedTuple):
    """What a picture takes of its partner: a box, and the partner's weight in it."""

    box: Box
    weight: float


NOTHING = Part(Box.whole(), 0.0)


@dataclass(frozen=True, slots=True)
class Mix:
    """How the pictures of a batch are mixed.

    partners: the index of each picture's partner; pairing is symmetric
    parts:    what each takes of its partner
    grid:     rows and columns of the model's tokens
    level:    what is mixed: "pixels", or for MixToken "tokens"

    Methods for the other level change nothing, so that one training step works for all three:

        pixels, targets, label = mix.pixels(pixels), mix.targets(targets, class_count=1000), mix.label(label)
        picture, tokens = model(pixels, mix)  # which calls mix.tokens(map) after its stem, mix.restored(logits) last
        loss = token_label_loss(picture, tokens, targets, label=label)

    Raises:
        LabelError: pairing is not symmetric, a part is out of range, or a swap of tokens could not be undone.
    """

    partners: tuple[int, ...]
    parts: tuple[Part, ...]
    grid: tuple[int, int]
    level: Level = "pixels"

    def __repr__(self) -> str:
        rows, columns = self.grid
        return f"Mix(pictures={len(self.partners)}, tokens={rows}x{columns}, level={self.level!r})"

    def __post_init__(self) -> None:
        """Check partners and parts."""
        count = len(self.partners)
        if len(self.parts) != count or sorted(self.partners) != list(range(count)):
            raise LabelError(f"a mix needs a part and a partner for each picture, not {self.parts} and {self.partners}")
        if any(self.partners[j] != i for i, j in enumerate(self.partners)):
            raise LabelError(f"pairing must be symmetric, but the partners are {self.partners}")
        if not all(0 <= weight <= 1 and min(box.edges) >= 0 and max(box.edges) <= 1 for box, weight in self.parts):
            raise LabelError(f"boxes must lie in the picture and weights in [0, 1], but the parts are {self.parts}")
        blended = any(0 < weight < 1 for _, weight in self.parts)
        unlike = any(self.parts[i] != self.parts[j] for i, j in enumerate(self.partners))
        if self.level == "tokens" and (blended or unlike):
            raise LabelError(
                "partners that mix tokens must swap the same box with weight 1, so that the swap can be undone; use "
                'mode="batch" or mode="pair", not mode="element"'
            )

    @property
    def fractions(self) -> torch.Tensor:
        """The fraction of each position's area that comes from the partner: float32 [b, 1 + t] in [0, 1]."""
        fractions = np.empty((len(self.parts), 1 + self.grid[0] * self.grid[1]), np.float32)
        for row, (box, weight) in zip(fractions, self.parts, strict=True):
            row[0] = weight * box.height * box.width
            row[1:] = weight * _covered(box, self.grid).ravel()
        return torch.from_numpy(fractions)

    def swap(self, device: torch.device | str = "cpu") -> TokenSwap:
        """What a model does with its tokens, as tensors on this device: one compiled graph serves all batches."""
        swapped = self.fractions[:, 1:].unflatten(1, self.grid) > 0.5
        if self.level == "pixels":
            swapped = torch.zeros_like(swapped)
        return TokenSwap(torch.tensor(self.partners, dtype=torch.int64, device=device), swapped.to(device))

    def pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """The mixed pictures, float [b, 3, H, W], a new tensor. CutMix takes uint8 too.

        Raises:
            LabelError: another number of pictures, or a box that is not whole pixels of them; MixUp of integers.
        """
        return self._mixed(pixels) if self.level == "pixels" else pixels

    def tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the model's stem gives, [b, D, h, w], with boxes swapped: MixToken. Call it before positions are added.

        h x w is the grid, or a multiple of it where the model makes its tokens coarser later on.

        Raises:
            LabelError: another number of pictures, or a box that is not whole tokens of them.
        """
        return self._mixed(tokens) if self.level == "tokens" else tokens

    def restored(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits of tokens, [b, t, C], with boxes swapped back: each row belongs to its own picture again.

        Raises:
            LabelError: another number of pictures or tokens.
        """
        if self.level == "pixels":
            return logits
        self._check_positions(logits.shape[1], "logits")
        # Partners swapped the same box, so the same swap undoes it.
        return self._mixed(logits.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)

    def targets(self, targets: TokenTargets, *, class_count: int) -> TokenTargets:
        """The mixed targets, [b, 1 + t, 2m]: (1 − s) y_i + s y_j, s the fraction that comes from the partner.

        With MixToken only the picture as a whole is mixed, because its tokens are restored. At a mixed position, what
        is outside is left out; if that is more than half of the position, the position is outside.

        Args:
            targets: targets of the pictures before mixing, [b, 1 + t, m].
            class_count: C.

        Raises:
            LabelError: another number of pictures or tokens.
        """
        self._check_positions(targets.outside.shape[1] - 1, "targets")
        self._check_count(len(targets), "targets")
        fractions = self.fractions.to(targets.outside.device)
        if self.level == "tokens":
            fractions[:, 1:] = 0
        theirs = targets[torch.tensor(self.partners, dtype=torch.int64, device=fractions.device)]
        own_part, their_part = (1 - fractions) * ~targets.outside, fractions * ~theirs.outside
        known = own_part + their_part
        own_part, their_part = own_part / known.clamp(min=_LEAST), their_part / known.clamp(min=_LEAST)
        return TokenTargets(
            torch.cat([targets.classes, theirs.classes], -1),
            torch.cat(
                [
                    _weighed(targets, own_part, theirs, their_part, class_count),
                    _weighed(theirs, their_part, targets, own_part, class_count),
                ],
                -1,
            ),
            known < 0.5,
        )

    def label(self, label: torch.Tensor | SoftLabel) -> SoftLabel:
        """The class numbers int64 [b] of the pictures, mixed by area: classes and probabilities [b, 2].

        Labels mixed before, classes and probabilities [b, m], become [b, 2m].

        Raises:
            LabelError: another number of pictures.
        """
        if isinstance(label, tuple):
            classes, probabilities = label
        else:
            classes, probabilities = label[:, None], torch.ones(len(label), 1, device=label.device)
        self._check_count(len(classes), "labels")
        fraction = self.fractions[:, :1].to(classes.device)
        partners = torch.tensor(self.partners, dtype=torch.int64, device=classes.device)
        return (
            torch.cat([classes, classes[partners]], 1),
            torch.cat([(1 - fraction) * probabilities, fraction * probabilities[partners]], 1),
        )

    def _mixed(self, values: torch.Tensor) -> torch.Tensor:
        """Values [b, ..., h, w] after each picture has taken its part of its partner."""
        self._check_count(len(values), "a batch")
        mixed = values.clone()
        alike: dict[Part, list[int]] = {}
        for i, part in enumerate(self.parts):
            alike.setdefault(part, []).append(i)
        for (box, weight), members in alike.items():
            if weight == 0:
                continue
            own = torch.tensor(members, device=values.device)
            their = torch.tensor([self.partners[i] for i in members], device=values.device)
            rows = _slice(box.top, box.bottom, values.shape[-2])
            columns = _slice(box.left, box.right, values.shape[-1])
            taken = values[their, ..., rows, columns]
            if weight < 1:
                if not values.is_floating_point():
                    raise LabelError(f"MixUp blends float pixels, not {values.dtype}; normalise them first")
                taken = torch.lerp(values[own, ..., rows, columns], taken, weight)
            mixed[own, ..., rows, columns] = taken
        return mixed

    def _check_count(self, count: int, what: str) -> None:
        if count != len(self.partners):
            raise LabelError(
                f"a mix of {len(self.partners)} pictures was applied to {what} of {count}; draw a mix for each batch, "
                "with its number of pictures"
            )

    def _check_positions(self, tokens: int, what: str) -> None:
        if tokens != self.grid[0] * self.grid[1]:
            raise LabelError(
                f"a mix of {self.grid[0]}x{self.grid[1]} tokens was applied to {what} of {tokens} tokens; make the "
                "Mixer with the model's token grid"
            )


def _slice(start: float, stop: float, length: int) -> slice:
    """The pixels or tokens of an axis from start to stop, unit coordinates."""
    edges = [start * length, stop * length]
    if any(abs(edge - round(edge)) > _ROUNDING for edge in edges):
        raise LabelError(
            f"a box from {start:g} to {stop:g} of an axis of {length} pixels or tokens cuts one of them in two; draw "
            "the mix for pictures or tokens of this size"
        )
    return slice(round(edges[0]), round(edges[1]))


def _covered(box: Box, grid: tuple[int, int]) -> NDArray[np.float64]:
    """The fraction of each token of a grid that the box covers: [h, w] in [0, 1]."""
    along = []
    for start, stop, count in ((box.top, box.bottom, grid[0]), (box.left, box.right, grid[1])):
        edges = np.arange(count + 1)
        along.append(np.clip(np.minimum(edges[1:], stop * count) - np.maximum(edges[:-1], start * count), 0, 1))
    return np.outer(*along)


def _weighed(
    own: TokenTargets, part: torch.Tensor, other: TokenTargets, other_part: torch.Tensor, class_count: int
) -> torch.Tensor:
    """Entry probabilities after mixing, including the other target's mass on classes it does not name."""
    named = (own.classes[..., :, None] == other.classes[..., None, :]) & (other.probabilities > 0)[..., None, :]
    unnamed = own.distinct & ~named.any(-1)
    return (
        own.probabilities * part[..., None]
        + unnamed * (other.probability_of_unnamed(class_count) * other_part)[..., None]
    )
