"""By which rule do labels of pictures become targets of their crops? `BLENDED`, or another with the same method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, final, runtime_checkable

from storage import LabelMap
from tokenlabel.geometry.view import View
from tokenlabel.geometry.warp import Warp
from tokenlabel.targets.token_targets import TokenTargets, token_targets


@runtime_checkable
class Rule(Protocol):
    """Makes the targets of a batch, for `LabeledImages(…, rule=…)`. `BLENDED` and `Paper` are rules."""

    @property
    def default_keep(self) -> int:
        """The number of classes kept at each position if `LabeledImages` is given no `keep`."""

    @property
    def reads_logits(self) -> bool:
        """Whether it also reads stores whose scores are logits."""

    def targets(
        self, labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], *, class_count: int, keep: int
    ) -> TokenTargets:
        """The targets of training pictures.

        Args:
            labels: labels of b source pictures, [b, h, w, k].
            views: how each training picture was made of its source.
            tokens: rows and columns of tokens of the model.
            class_count: number of classes of the store.
            keep: number of classes kept at each position.
        """


@final
@dataclass(frozen=True, slots=True)
class Blended:
    """Averages probabilities over what a token sees; classes that are not kept make its remainder: `token_targets`."""

    default_keep: ClassVar[int] = 8
    reads_logits: ClassVar[bool] = False

    def targets(
        self, labels: LabelMap, views: Sequence[View | Warp], tokens: tuple[int, int], *, class_count: int, keep: int
    ) -> TokenTargets:
        """The targets of training pictures; see `token_targets`."""
        return token_targets(labels, views, tokens, keep=keep)

    def __repr__(self) -> str:
        return "BLENDED"


BLENDED: Final = Blended()
