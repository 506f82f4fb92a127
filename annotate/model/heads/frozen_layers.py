"""How can the answers of a nonlinear head average to its own? Its slopes are frozen at their whole-picture values.

    activation        z ↦ f(0) + z · g,             g = (f(z̄) − f(0)) / z̄
    gate (SwiGLU)     f(z) · x ↦ f(z̄) · x
    norm              x ↦ (x − mean x) / σ · w + b,  σ of the pooled vector x̄; an RMS norm subtracts no mean

Each z̄ is the layer's input when the network classifies the whole picture. With the slopes g and the σ frozen there, the
head is affine: the mean of its logits over the locations is its logits for their mean, the network's own answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import timm.layers
import torch
from timm.layers import activations
from timm.models.metaformer import SquaredReLU, StarReLU
from torch import nn

Answer = TypeVar("Answer")

# The modules that define them; Transformers need not be installed.
_ACTIVATIONS = {nn.modules.activation.__name__, activations.__name__, "transformers.activations"}
_OTHER_ACTIVATIONS = (SquaredReLU, StarReLU)
_RMS_NORMS = (
    nn.RMSNorm,
    timm.layers.RmsNorm,
    timm.layers.RmsNormFp32,
    timm.layers.RmsNorm2d,
    timm.layers.RmsNorm2dFp32,
)
_GATED = (timm.layers.GluMlp, timm.layers.SwiGLU)  # f(z) · x, from two linear layers or one
_SIMPLE_NORMS = (
    timm.layers.SimpleNorm,
    timm.layers.SimpleNormFp32,
    timm.layers.SimpleNorm2d,
    timm.layers.SimpleNorm2dFp32,
)


class FrozenLayers:
    """The nonlinear layers of a network that can be frozen: activations, and norms over channels."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = list(dict.fromkeys(_nonlinear_layers(model)))  # a layer that is used twice has one hook
        self._gates = {each.act for each in model.modules() if isinstance(each, _GATED)}

    def record(self, head: Callable[[], Answer]) -> tuple[Answer, list[torch.Tensor]]:
        """What `head` returns, and the input of each call of a nonlinear layer meanwhile, in order."""
        seen: list[torch.Tensor] = []

        def see(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.append(inputs[0].clone())  # the layer may work in place

        with self._hooks(before=see):
            return head(), seen

    def apply(self, seen: list[torch.Tensor], locations: int, head: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What the same head returns for each location of the recorded pictures, with the slopes of the whole pictures.

        Args:
            seen: the inputs that `record` returned, for b pictures.
            locations: their number in each picture.
            head: computes all b·locations, those of one picture next to each other.
        """
        pooled = iter(seen)
        given: list[torch.Tensor] = []

        def keep(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            given.append(inputs[0].clone())

        def freeze(layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            x, at = given.pop(), next(pooled)
            if at.numel() * locations != x.numel() or output.numel() != x.numel():
                return output  # before the pooling, where the network itself works on each location: nothing to freeze
            # A head may work on several class tokens side by side; a pooled map is one vector.
            tokens = (at.shape[1],) if at.ndim == 4 and at.shape[2:] == (1, 1) else at.shape[1:]
            rows = x.reshape(len(at), locations, *tokens), at.reshape(len(at), 1, *tokens)
            if layer in self._gates:
                frozen = layer.forward(rows[1].clone()).expand(rows[0].shape)
            elif _is_norm(layer):
                frozen = _frozen_norm(layer, *rows, output)
            else:
                frozen = _frozen_activation(layer, *rows)
            return frozen.reshape(output.shape).to(output.dtype)

        with self._hooks(before=keep, after=freeze):
            return head()

    @contextmanager
    def _hooks(self, before: Callable[..., None], after: Callable[..., Any] | None = None) -> Iterator[None]:
        handles = [layer.register_forward_pre_hook(before) for layer in self._layers]
        if after:
            handles += [layer.register_forward_hook(after) for layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _nonlinear_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The activations and norms of a network, without the layers inside an activation."""
    if _is_activation(module) or _is_norm(module):
        yield module
        return
    for child in module.children():
        yield from _nonlinear_layers(child)


def _is_activation(layer: nn.Module) -> bool:
    is_listed = type(layer).__module__ in _ACTIVATIONS and not isinstance(layer, nn.MultiheadAttention)
    return is_listed or isinstance(layer, _OTHER_ACTIVATIONS)


def _is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.LayerNorm, *_RMS_NORMS, *_SIMPLE_NORMS))


def _frozen_activation(layer: nn.Module, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """x [b, locations, C] times the slopes g at z̄ [b, 1, C], plus f(0)."""
    zero = layer.forward(torch.zeros_like(at))
    slope = (layer.forward(at.clone()) - zero) / at
    # Where z̄ is 0, the sum of x over the locations is 0 for any slope; 0 is that of a ReLU.
    return zero + x * slope.masked_fill(at == 0, 0)


def _frozen_norm(layer: Any, x: torch.Tensor, at: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The layer's output for x [b, locations, C], rescaled from each location's own σ to that of x̄ [b, 1, C]."""
    bias = getattr(layer, "bias", None)
    shift = 0 if bias is None else bias
    return (output.reshape(x.shape) - shift) * (_deviation(layer, x) / _deviation(layer, at)) + shift


def _deviation(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """σ over the last axis, as the norm takes it."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if isinstance(layer, _RMS_NORMS):
        square = wide.square().mean(-1, keepdim=True)
    else:
        square = wide.var(-1, keepdim=True, correction=1 if isinstance(layer, _SIMPLE_NORMS) else 0)
    return (square + (torch.finfo(x.dtype).eps if layer.eps is None else layer.eps)).sqrt()
