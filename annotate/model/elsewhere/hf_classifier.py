"""How does a classifier of Transformers label every location? In the form of timm's networks: features, and a head.

    pixels ──the trunk──▶ last_hidden_state ──its own pooling──▶ classifier ──▶ logits

How it pools is measured on noise, and not read from its name: by what its classifier is given. `DenseClassifier` then
measures, as for all networks, whether the answers of the locations average to the network's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from annotate.errors import AnnotateError
from annotate.model.dense import EXACT
from annotate.model.elsewhere.hf_processor import does_not_answer

_IN_ANOTHER_ORDER = {"hiera"}  # the units that its training masks come one after the other
_MOST_PREFIX = 17  # a class token and 16 registers


@dataclass(frozen=True, slots=True)
class Pooling:
    """What a classifier is given of the trunk's features.

    kind:   the mean over the locations, the class token, or both, one after the other
    prefix: tokens without a location, which come first
    norm:   what the mean passes through
    """

    kind: Literal["mean", "class token", "both"]
    prefix: int = 0
    norm: nn.Module | None = None

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """The vectors [b, C] or [b, 2 C] of a map [b, C, h, w] or of tokens [b, prefix + N, C]."""
        if self.kind == "class token":
            return features[:, 0]
        mean = features.mean((2, 3)) if features.ndim == 4 else features[:, self.prefix :].mean(1)
        mean = mean if self.norm is None else self.norm(mean)
        return torch.cat([features[:, 0], mean], 1) if self.kind == "both" else mean


class HubClassifier(nn.Module):
    """A classifier of Transformers with the members by which `DenseClassifier` knows a network of timm's.

    Args:
        model: the network.
        trunk: its part that gives last_hidden_state.
        pooling: makes the classifier's input of it.
        shape: of that input, without the batch.
        width: channels of a token or of the map.
    """

    def __init__(self, model: Any, trunk: nn.Module, pooling: Pooling, shape: torch.Size, width: int) -> None:
        super().__init__()
        self.model = model
        self.num_classes: int = model.config.num_labels
        self.num_features, self.num_prefix_tokens = width, pooling.prefix
        self._trunk = (trunk,)  # in a tuple, so that its weights are counted once
        self._pooling, self._shape = pooling, shape

    @classmethod
    @torch.inference_mode()
    def of(cls, model: Any, name: str, input_size: tuple[int, int]) -> HubClassifier:
        """The network, after a look at how it pools.

        Raises:
            AnnotateError: it does not take the input, or pools in no way that is known.
        """
        if hasattr(model, "timm_model"):
            raise AnnotateError(f"{name} is a network of timm's; give --model hf-hub:{name.removeprefix('hf:')}")
        refused = f"the model {name} has no faithful dense answer"
        if not isinstance(getattr(model, "classifier", None), nn.Module):
            raise AnnotateError(f"{refused}: {type(model).__name__} has no layer `classifier` after its pooling.")
        if model.config.model_type in _IN_ANOTHER_ORDER:
            raise AnnotateError(f"{refused}: its tokens need not lie row by row, and nothing says in which order.")
        try:
            trunk, features, given = _seen(model, input_size)
        except Exception as error:  # networks raise exceptions of many types on an input that does not fit
            raise AnnotateError(f"the model {name} {does_not_answer(input_size, error)}") from error
        expected, apart = given.flatten(1), dict[Pooling, float]()
        for pooling in _poolings(trunk, features):
            if (pooled := pooling(features)).shape == expected.shape:
                apart[pooling] = float((pooled - expected).norm() / expected.norm().clamp_min(1e-12))
        nearest = min(apart, key=lambda pooling: apart[pooling], default=None)
        if nearest is None or apart[nearest] > EXACT:
            raise AnnotateError(
                f"{refused}: its classifier is given neither the mean over its locations, nor a class token, nor the "
                "two together."
            )
        width = features.shape[1] if features.ndim == 4 else features.shape[2]
        if nearest.kind != "class token":
            return cls(model, trunk, nearest, given.shape[1:], width)
        patch = getattr(model.config, "patch_size", None)
        if isinstance(patch, int):  # registers and a second class token have no location either
            without = features.shape[1] - (input_size[0] // patch) * (input_size[1] // patch)
            nearest = replace(nearest, prefix=without)
        return _OfClassToken(model, trunk, nearest, given.shape[1:], width)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Its own logits, [b, classes]."""
        logits: torch.Tensor = self.model(pixels, **of_size(self.model, self.model.config, pixels)).logits
        return logits

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The trunk's last_hidden_state: tokens [b, N, C] or a map [b, C, h, w]."""
        features: torch.Tensor = self._trunk[0](
            pixels, **of_size(self._trunk[0], self.model.config, pixels)
        ).last_hidden_state
        return features

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """What its classifier says of them, pooled."""
        logits: torch.Tensor = self.model.classifier(self._pooling(features).reshape(len(features), *self._shape))
        return logits


class _OfClassToken(HubClassifier):
    """One that classifies its class token: with its last blocks where `ClassToken` looks for them."""

    global_pool = "token"

    def __init__(self, model: Any, trunk: Any, pooling: Pooling, shape: torch.Size, width: int) -> None:
        super().__init__(model, trunk, pooling, shape, width)
        inner = getattr(trunk, "encoder", trunk)
        blocks = getattr(inner, "layers", getattr(inner, "layer", None))
        norm = getattr(trunk, "layernorm", getattr(trunk, "norm", None))
        if isinstance(blocks, nn.ModuleList) and isinstance(norm, nn.Module):
            self.blocks, self.norm = blocks, norm

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens after its blocks and its norm, [b, prefix + N, C]."""
        embeddings: Any = self._trunk[0].embeddings
        tokens: torch.Tensor = embeddings(pixels, **of_size(embeddings, self.model.config, pixels))
        for block in self.blocks:
            tokens = block(tokens)
        answer: torch.Tensor = self.norm(tokens)
        return answer


def _seen(model: Any, input_size: tuple[int, int]) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The part of a network that gives last_hidden_state, this for noise, and what its classifier is given then."""
    trunks: list[tuple[nn.Module, torch.Tensor]] = []
    given: list[torch.Tensor] = []

    def after(part: nn.Module, _: Any, answer: Any) -> None:
        if isinstance(found := getattr(answer, "last_hidden_state", None), torch.Tensor):
            trunks.append((part, found))

    hooks = [child.register_forward_hook(after) for child in model.children()]
    hooks.append(model.classifier.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0])))
    pixels = torch.randn(2, 3, *input_size, generator=torch.Generator().manual_seed(0))
    try:
        model(pixels, **of_size(model, model.config, pixels))
    finally:
        for hook in hooks:
            hook.remove()
    if len(trunks) != 1 or len(given) != 1 or trunks[0][1].ndim not in (3, 4):
        raise ValueError("it has not one trunk and one classifier")
    return *trunks[0], given[0]


def _poolings(trunk: nn.Module, features: torch.Tensor) -> Iterator[Pooling]:
    """What a classifier may be given of these features."""
    norms: list[nn.Module | None] = [None]
    for owner in (trunk, getattr(trunk, "pooler", None)):
        if isinstance(owner, nn.Module):
            norms += [each for each in owner.children() if isinstance(each, nn.LayerNorm)]
    if features.ndim == 4:
        yield from (Pooling("mean", norm=norm) for norm in norms)
        return
    prefixes = range(min(_MOST_PREFIX, features.shape[1] - 1) + 1)
    yield from (Pooling("mean", prefix, norm) for prefix in prefixes for norm in norms)
    yield Pooling("class token", 1)
    yield from (Pooling("both", prefix) for prefix in prefixes[1:])


def of_size(part: nn.Module, config: Any, pixels: torch.Tensor) -> dict[str, Any]:
    """What a part needs to be told to take pixels of another size than its configuration names."""
    own = getattr(config, "image_size", None)
    native = (own, own) if isinstance(own, int) else tuple(own or ())
    takes = "interpolate_pos_encoding" in inspect.signature(part.forward).parameters
    return {"interpolate_pos_encoding": True} if takes and native != tuple(pixels.shape[2:]) else {}
