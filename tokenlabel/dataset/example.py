"""What does a trainer get for a picture, and for a batch? Pixels, targets, and the picture's own class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import torch

from tokenlabel.dataset.other_loaders import refuse_other_loaders
from tokenlabel.errors import LabelError
from tokenlabel.targets.token_targets import TokenTargets


class Example(NamedTuple):
    """One training picture, or a batch of them with a leading axis: float32 [3, H, W], targets, and its class."""

    pixels: torch.Tensor
    targets: TokenTargets
    label: torch.Tensor

    def __repr__(self) -> str:
        # What a loader or a test makes of it may hold numbers in place of tensors.
        pixels, label = (list(each.shape) if hasattr(each, "shape") else each for each in (self.pixels, self.label))
        return f"Example(pixels {pixels}, {self.targets!r}, label {label})"


class KeyedExample(NamedTuple):
    """An `Example` that also says which picture it shows: its key and its index; of a batch a list and int64 [b]."""

    pixels: torch.Tensor
    targets: TokenTargets
    label: torch.Tensor
    key: str | list[str]
    index: int | torch.Tensor  # type: ignore[assignment]  # tuple.index, which nobody calls

    def __repr__(self) -> str:
        return repr(Example(*self[:3])).replace("Example(", "KeyedExample(", 1)


@overload
def collate(examples: Sequence[Example]) -> Example: ...
@overload
def collate(examples: Sequence[KeyedExample]) -> KeyedExample: ...
@overload
def collate(examples: Sequence[tuple[Example, ...]]) -> tuple[Example, ...]: ...
def collate(examples: Sequence[Any]) -> Any:
    """Examples as a batch: the `collate_fn` of a DataLoader over `LabeledImages`.

    Of several views it gives a tuple of batches, one a view.

    Example:
        >>> targets = TokenTargets(torch.zeros(5, 8, dtype=torch.int32), torch.zeros(5, 8), torch.zeros(5, dtype=bool))
        >>> collate([Example(torch.zeros(3, 64, 64), targets, torch.tensor(7))] * 2)
        Example(pixels [2, 3, 64, 64], TokenTargets(pictures=2, tokens=4, classes=8), label [2])
    """
    if not isinstance(examples[0], Example | KeyedExample):
        return tuple(map(collate, zip(*examples, strict=True)))
    batch = Example(
        torch.stack([example.pixels for example in examples]),
        TokenTargets.stack([example.targets for example in examples]),
        torch.stack([example.label for example in examples]),
    )
    if isinstance(examples[0], Example):
        return batch
    return KeyedExample(*batch, [each.key for each in examples], torch.tensor([each.index for each in examples]))


class Taught(NamedTuple):
    """What the pictures of a batch are taught, which moves as one: targets, and classes int64 [b]."""

    targets: TokenTargets
    label: torch.Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Taught:
        """The same on another device; timm's prefetcher calls it."""
        return Taught(
            self.targets.to(device, non_blocking=non_blocking), self.label.to(device, non_blocking=non_blocking)
        )

    def __repr__(self) -> str:
        return f"Taught({self.targets!r}, label {list(self.label.shape)})"


def collate_pairs(examples: Sequence[Example]) -> tuple[torch.Tensor, Taught]:
    """Examples as a batch for timm's prefetcher, which takes pairs: `for pixels, (targets, label) in loader`.

    Raises:
        LabelError: pixels are not uint8, and the prefetcher would normalise them a second time.

    Example:
        >>> targets = TokenTargets(torch.zeros(5, 8, dtype=torch.int32), torch.zeros(5, 8), torch.zeros(5, dtype=bool))
        >>> example = Example(torch.zeros(3, 8, 8, dtype=torch.uint8), targets, torch.tensor(7))
        >>> collate_pairs([example, example])[1]
        Taught(TokenTargets(pictures=2, tokens=4, classes=8), label [2])
    """
    pixels, targets, label = collate(examples)[:3]
    if pixels.dtype != torch.uint8:
        raise LabelError(
            f"timm's prefetcher normalises uint8 pixels, but these are {pixels.dtype}: give "
            "augment=create_transform(…, use_prefetcher=True)"
        )
    return pixels, Taught(targets, label)


refuse_other_loaders(Example, KeyedExample)
