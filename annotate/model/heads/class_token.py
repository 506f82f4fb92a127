"""How does a head answer that classifies a class token (ViT, DeiT, CLIP, CaiT)? That asks each location alone.

    tokens before the last block ──▶ the block, of the class token alone ──▶ norm ──▶ forward_head
                                       └ its attention gives what `Held` has of this location

The class token, the residual, LayerScale and the MLP are the network's own. Locations differ by what they give to the
class token in this block; what it has gathered before is the same for all.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from annotate.model.heads.frozen_layers import FrozenLayers
from annotate.model.heads.head import Unfaithful
from annotate.model.heads.held_attention import Held, give, see
from networks.locations import Locations, head_answer

_OF_CLASS_ALONE = "blocks_token_only"  # CaiT's: they take the locations and the class token separately
_LAST = (_OF_CLASS_ALONE, "cls_attn_blocks", "blocks")  # where families of timm have their last block


class ClassToken:
    """The head of a network that classifies its class token, or two (a distilled DeiT).

    Raises:
        Unfaithful: no last block is known in which its class token looks at locations.
    """

    rule = "class token"

    def __init__(self, model: Any) -> None:
        name = next((each for each in _LAST if getattr(model, each, None)), None)
        blocks = getattr(model, name) if name else None
        norm = getattr(model, "norm", None)
        if name is None or blocks is None or not isinstance(norm, nn.Module) or isinstance(norm, nn.ModuleList):
            raise Unfaithful("it classifies by its class token, and has no last block in which that looks at locations")
        self._split = name == _OF_CLASS_ALONE
        self._block: Any = blocks[-1]
        if _required(self._block) != (2 if self._split else 1):
            raise Unfaithful("it classifies by its class token, and its last block takes more than one set of tokens")
        self._model = model
        self._rows = 2 if getattr(model, "dist_token", None) is not None else 1
        self.layout = Locations.of(model)
        self._layers = FrozenLayers(model)
        self._end = _End()
        # All its weights are the model's own, and move with them.
        last = {str(len(blocks) - 1): self._end}
        self._trunk: Any = _with(model, {name: _with(blocks, last), "norm": nn.Identity()})

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens before the last block."""
        features: torch.Tensor = self._trunk.forward_features(pixels)
        return features

    def whole(self, features: torch.Tensor) -> torch.Tensor:
        """What the last block, the norm and forward_head say of all tokens."""
        return self._classified(self._block_of_all(features))

    def of_mean(self, features: torch.Tensor) -> None:
        """None: it classifies its class token."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def local(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """The class token looks at each location alone."""
        held = self._held(features, grid)
        return self._asked(features, grid[0] * grid[1], held.local()).reshape(len(features), *grid, -1)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def frozen(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Each location's own part, N times, with attention, norms and activations held."""
        held, count = self._held(features, grid), grid[0] * grid[1]
        _, seen = self._layers.record(lambda: self._asked(features, 1, held.whole()))
        logits = self._layers.apply(seen, count, lambda: self._asked(features, count, held.frozen()))
        return logits.reshape(len(features), *grid, -1)

    def _held(self, features: torch.Tensor, grid: tuple[int, int]) -> Held:
        _, held = see(self._block, self._rows, grid[0] * grid[1], lambda: self._block_of_all(features))
        return held

    def _asked(self, features: torch.Tensor, times: int, attention: torch.Tensor) -> torch.Tensor:
        """The logits of the class token, each picture's `times` times, where its attention gives what is given."""
        own = features[:, : self._rows].repeat_interleave(times, 0)

        def run() -> torch.Tensor:
            block: Any = self._block
            return block(own[:, :0], own) if self._split else block(own)

        return self._classified(give(self._block, attention, run))

    def _block_of_all(self, features: torch.Tensor) -> torch.Tensor:
        if self._split:
            own: torch.Tensor = self._block(features[:, 1:], features[:, :1])
            return own
        tokens: torch.Tensor = self._block(features, **self._end.given[features.shape[1]])
        return tokens

    def _classified(self, tokens: torch.Tensor) -> torch.Tensor:
        try:
            return head_answer(self._model, self._model.norm(tokens))
        except ValueError as error:
            raise Unfaithful(str(error)) from error


class _End(nn.Module):
    """Stands in the last block's place and hands its tokens on; keeps the other arguments, which say positions."""

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[int, dict[str, Any]] = {}  # by the number of tokens, on which alone they depend

    def forward(self, *tokens: torch.Tensor, **others: Any) -> torch.Tensor:
        """The class token of CaiT, which comes last, or all tokens."""
        self.given[tokens[0].shape[1]] = others
        return tokens[-1]


def _with(module: nn.Module, replaced: Mapping[str, nn.Module]) -> nn.Module:
    """The module with other children; all that is not replaced is shared, weights included."""
    other = copy.copy(module)
    other._modules = {**module._modules, **replaced}
    return other


def _required(block: nn.Module) -> int:
    """How many arguments it must have."""
    given = inspect.signature(block.forward).parameters.values()
    return sum(each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD for each in given)
