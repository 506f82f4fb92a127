"""Which kind of head has a network? Its layers say so; where they do not, what its head depends on."""

from __future__ import annotations

from typing import Any

import torch

from annotate.model.heads.attention_pool import POOLS, AttentionPool
from annotate.model.heads.class_and_mean import ClassAndMean
from annotate.model.heads.class_token import ClassToken
from annotate.model.heads.fused_stages import FusedStages
from annotate.model.heads.head import Head, Unfaithful
from annotate.model.heads.pooled_mean import PooledMean
from annotate.model.heads.windows import Windows
from networks.locations import Locations, has_token_head


def head_of(model: Any) -> Head:
    """The head of a network with timm's forward_features and forward_head. Whether it is faithful is measured later.

    Raises:
        Unfaithful: it pools in a way without a dense answer.
    """
    if has_token_head(model):
        return PooledMean(model)
    if Windows.are_in(model):
        return PooledMean(Windows(model))
    if FusedStages.are_in(model):
        return PooledMean(FusedStages(model))
    if any(isinstance(module, POOLS) for module in model.modules()):
        return AttentionPool(model)
    for owner in (model, getattr(model, "head", None)):
        pool = getattr(owner, "global_pool", None)
        pool = getattr(pool, "pool_type", pool)
        if pool == "token":
            return ClassToken(model)
        if pool in ("max", "avgmax", "catavgmax"):
            raise Unfaithful(f"it pools by {pool!r}, which is not the mean over locations. Use another network")
        if pool == "prr":
            raise Unfaithful("its locations ask each other before it pools, so that none has an answer of its own")
    return ClassAndMean(model) if _takes_class_and_mean(model) else PooledMean(model)


def _takes_class_and_mean(model: Any) -> bool:
    """Whether a head for tokens answers otherwise if the class token, or any other token, is another."""
    layout, width = Locations.of(model), getattr(model, "num_features", None)
    if not layout.prefix or not isinstance(width, int):
        return False
    weights = next(model.parameters())
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(1, layout.prefix + 4, width, generator=generator).to(weights)
    others = tokens.clone(), tokens.clone()
    others[0][:, : layout.prefix] += 1 + tokens[:, : layout.prefix].flip(-1)
    others[1][:, layout.prefix :] += 1 + tokens[:, layout.prefix :].flip(-1)
    try:
        with torch.inference_mode():
            own, *changed = (model.forward_head(each) for each in (tokens, *others))
        return not any(torch.allclose(own, each) for each in changed)
    except Exception:  # heads raise exceptions of many types on what they do not take; they do not take tokens
        return False
