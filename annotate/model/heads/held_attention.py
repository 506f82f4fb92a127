"""What does each location give to the tokens that ask for it? The one call of an attention layer, seen and replaced.

    a class token, or a pooling query, gets      Σ_j a_j v_j     over all tokens j; a_j from the softmax, v_j the values
    it looks at location i alone (`local`):      v_i             the softmax over a single key is 1
    its attention is held (`frozen`):            Σ_p a_p v_p + N a_i v_i

p are the tokens without a location: class tokens and registers. The mean of the last line over the N locations is the
first line. All of timm's attention ends in torch's `scaled_dot_product_attention` where it is fused, so that rotary
and relative positions, norms of queries and keys, and scales are in what that call is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from annotate.model.heads.head import Unfaithful


@dataclass(frozen=True, slots=True)
class Held:
    """What one attention layer gave to its first R rows, for b pictures of N locations, in each of its heads.

    values:  v_i, [b, heads, N, d]
    weights: a_i, [b, heads, R, N]
    others:  Σ_p a_p v_p, [b, heads, R, d]
    """

    values: torch.Tensor
    weights: torch.Tensor
    others: torch.Tensor

    def whole(self) -> torch.Tensor:
        """What the rows get from all tokens: [b, heads, R, d]."""
        return (self.others + self.weights @ self.values.to(self.weights)).to(self.values)

    def local(self) -> torch.Tensor:
        """What they get from each location alone: [b·N, heads, 1, d]."""
        return self.values.transpose(1, 2).flatten(0, 1)[:, :, None]

    def frozen(self) -> torch.Tensor:
        """What they get where each location stands for all, with the attention held: [b·N, heads, R, d]."""
        count = self.values.shape[2]
        own = self.weights.permute(0, 3, 1, 2)[..., None] * self.values.to(self.weights).transpose(1, 2)[:, :, :, None]
        return (self.others[:, None] + count * own).flatten(0, 1).to(self.values)


def see(layers: nn.Module, rows: int, locations: int, run: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Held]:
    """What `run` returns, and what the attention in it gave to its first rows. The last tokens are the locations.

    Raises:
        Unfaithful: there was not exactly one call of attention.
    """
    seen: list[Held] = []

    def watch(q: Any, k: Any, v: Any, attn_mask: Any = None, scale: float | None = None, **others: Any) -> Any:
        if others.get("is_causal") or others.get("enable_gqa"):
            raise Unfaithful("its last attention is causal or grouped, which is not known here")
        wide = torch.promote_types(q.dtype, torch.float32)
        logits = (
            q[:, :, :rows].to(wide) @ k.to(wide).transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        )
        if attn_mask is not None:
            mask = attn_mask if attn_mask.shape[-2] == 1 else attn_mask[..., :rows, :]
            logits = logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask
        weights, prefix = logits.softmax(-1), k.shape[2] - locations
        others_give = weights[..., :prefix] @ v[:, :, :prefix].to(wide)
        seen.append(Held(v[:, :, prefix:], weights[..., prefix:], others_give))
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask, scale=scale)

    with _Attention(layers, watch):
        result = run()
    if len(seen) != 1:
        raise Unfaithful(f"it asks its locations in {len(seen)} attention calls and not in one")
    return result, seen[0]


def give(layers: nn.Module, output: torch.Tensor, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What `run` returns where its attention gives this output [batch, heads, rows or 1, d], whatever it is asked."""

    def answer(q: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        rows = q.shape[2]
        return output.expand(-1, -1, rows, -1) if output.shape[2] == 1 else output[:, :, :rows]

    with _Attention(layers, answer):
        return run()


class _Attention(TorchFunctionMode):
    """Answers calls of torch's attention itself, and sees that the layers make them."""

    def __init__(self, layers: nn.Module, answer: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self._answer = answer
        layer: Any
        for layer in layers.modules():
            if hasattr(layer, "fused_attn"):
                layer.fused_attn = True  # otherwise softmax and products are calls of their own

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace the one call; all others as they are."""
        if func is nn.functional.scaled_dot_product_attention:
            known = {name: value for name, value in (kwargs or {}).items() if name != "dropout_p"}
            return self._answer(*args, **known)
        return func(*args, **(kwargs or {}))
