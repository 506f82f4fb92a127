"""How can a head that bends still add up? Its gates stay where the pooled vector of the picture has put them.

    activation        z ↦ f(0) + z · g,             g = (f(z̄) − f(0)) / z̄
    norm              x ↦ (x − mean x) / σ · w + b,  σ of the pooled vector x̄; an RMS norm takes no mean off

Each z̄ is what the layer sees when the network answers for the whole picture. With these, the head is affine, so that
the mean of its answers over the locations is its answer to their mean: the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import timm.layers
import torch
from timm.layers import activations
from timm.models.metaformer import SquaredReLU, StarReLU
from torch import nn

_ACTIVATIONS = {nn.modules.activation.__name__, activations.__name__}  # the modules that define them
_OTHER_ACTIVATIONS = (SquaredReLU, StarReLU)
_RMS_NORMS = (
    nn.RMSNorm,
    timm.layers.RmsNorm,
    timm.layers.RmsNormFp32,
    timm.layers.RmsNorm2d,
    timm.layers.RmsNorm2dFp32,
)
_SIMPLE_NORMS = (
    timm.layers.SimpleNorm,
    timm.layers.SimpleNormFp32,
    timm.layers.SimpleNorm2d,
    timm.layers.SimpleNorm2dFp32,
)


class Gates:
    """The layers of a network that bend, and can be held: activations, and norms over channels."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = list(dict.fromkeys(_bending(model)))  # a layer that is used twice is held once

    def record(self, head: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What a head answers, and what each call of a layer that bends was given meanwhile, in order."""
        seen: list[torch.Tensor] = []

        def see(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.append(inputs[0].clone())  # the layer may work in place

        with self._hooks(before=see):
            return head(), seen

    def hold(self, seen: list[torch.Tensor], cells: int, head: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What the same head answers to each location of the pictures that were recorded, with their gates.

        Args:
            seen: of `record`, for b pictures.
            cells: locations of each picture.
            head: asks for all b·cells locations, a picture's beside each other.
        """
        pooled = iter(seen)
        given: list[torch.Tensor] = []

        def keep(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            given.append(inputs[0].clone())

        def bend(layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            x, at = given.pop(), next(pooled)
            if at.numel() * cells != x.numel() or output.numel() != x.numel():
                return output  # before the pooling it sees each location when the network answers, too: nothing to hold
            rows = x.reshape(len(at), cells, -1), at.reshape(len(at), 1, -1)
            held = _held_norm(layer, *rows, output) if _is_norm(layer) else _held_activation(layer, *rows)
            return held.reshape(output.shape).to(output.dtype)

        with self._hooks(before=keep, after=bend):
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


def _bending(module: nn.Module) -> Iterator[nn.Module]:
    """The activations and norms of a network. What an activation consists of is a part of it."""
    if _is_activation(module) or _is_norm(module):
        yield module
        return
    for child in module.children():
        yield from _bending(child)


def _is_activation(layer: nn.Module) -> bool:
    named_so = type(layer).__module__ in _ACTIVATIONS and not isinstance(layer, nn.MultiheadAttention)
    return named_so or isinstance(layer, _OTHER_ACTIVATIONS)


def _is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.LayerNorm, *_RMS_NORMS, *_SIMPLE_NORMS))


def _held_activation(layer: nn.Module, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """x [b, cells, C] through the gates that z̄ [b, 1, C] opens."""
    zero = layer.forward(torch.zeros_like(at))
    gate = (layer.forward(at.clone()) - zero) / at
    # Where z̄ is 0, so is the sum over the locations, whatever the gate; a shut one is that of a ReLU.
    return zero + x * gate.masked_fill(at == 0, 0)


def _held_norm(layer: Any, x: torch.Tensor, at: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """The layer's output for x [b, cells, C], rescaled from each location's own σ to that of x̄ [b, 1, C]."""
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
