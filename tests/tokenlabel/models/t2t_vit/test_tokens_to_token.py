"""Do the three steps of T2T-ViT take the patches that the paper says, and its layers compute what they say?"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tokenlabel.models.t2t_vit.performer import PerformerLayer
from tokenlabel.models.t2t_vit.tokens_to_token import TokensToToken
from tokenlabel.models.t2t_vit.transformer import TransformerLayer


def patches_by_loop(picture: torch.Tensor, side: int, step: int, padding: int) -> torch.Tensor:
    """The patches of a map [C, h, w], row by row: [t, C side side], channel first, then row, then column."""
    channels, h, w = picture.shape
    rows = []
    for top in range(-padding, h + padding - side + 1, step):
        for left in range(-padding, w + padding - side + 1, step):
            values = []
            for channel in range(channels):
                for y in range(top, top + side):
                    for x in range(left, left + side):
                        inside = 0 <= y < h and 0 <= x < w
                        values.append(float(picture[channel, y, x]) if inside else 0.0)
            rows.append(values)
    return torch.tensor(rows, dtype=picture.dtype)


@torch.no_grad()
def test_each_step_unfolds_what_a_loop_unfolds() -> None:
    module = TokensToToken(img_size=(32, 48), embed_dim=8).double().eval()
    seen: dict[str, torch.Tensor] = {}
    for name in ("attention1", "attention2", "project"):
        module.get_submodule(name).register_forward_hook(
            lambda _, given, gave, name=name: seen.update({f"{name}.in": given[0], f"{name}.out": gave})
        )
    pixels = torch.randn(1, 3, 32, 48, dtype=torch.float64)
    out = module(pixels)
    assert out.shape == (1, 8, 2, 3)
    assert torch.equal(seen["attention1.in"][0], patches_by_loop(pixels[0], 7, 4, 2))
    first = seen["attention1.out"][0].reshape(8, 12, 64).permute(2, 0, 1)
    assert torch.equal(seen["attention2.in"][0], patches_by_loop(first, 3, 2, 1))
    second = seen["attention2.out"][0].reshape(4, 6, 64).permute(2, 0, 1)
    assert torch.equal(seen["project.in"][0], patches_by_loop(second, 3, 2, 1))
    assert torch.equal(out[0].permute(1, 2, 0).reshape(6, 8), seen["project.out"][0])


@torch.no_grad()
def test_performer_attention_is_the_sum_over_all_pairs() -> None:
    layer = PerformerLayer(10, 8).double().eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 5, 10, dtype=torch.float64)
    k, q, v = layer.kqv(layer.norm1(x)).split(8, -1)

    def phi(row: torch.Tensor) -> list[float]:
        square = sum(float(value) ** 2 for value in row)
        return [math.exp(float(layer.w[i] @ row) - square / 2) / math.sqrt(4) for i in range(4)]

    attended = torch.zeros(2, 5, 8, dtype=torch.float64)
    for b in range(2):
        for i in range(5):
            weights = [sum(a * c for a, c in zip(phi(q[b, i]), phi(k[b, j]), strict=True)) for j in range(5)]
            for j in range(5):
                attended[b, i] += weights[j] / (sum(weights) + 1e-8) * v[b, j]
    y = v + layer.proj(attended)  # the residual is v
    expected = y + layer.mlp[2](nn.functional.gelu(layer.mlp[0](layer.norm2(y))))
    assert torch.allclose(layer(x), expected, atol=1e-12)


@torch.no_grad()
def test_directions_are_orthogonal_and_features_estimate_the_kernel_of_softmax() -> None:
    layer = PerformerLayer(10, 64)
    assert torch.allclose(layer.w @ layer.w.T, 32 * torch.eye(32), atol=1e-3)
    draws = [PerformerLayer(10, 64) for _ in range(200)]
    q, k = torch.randn(1, 1, 64) / 8, torch.randn(1, 1, 64) / 8
    kernel = torch.stack([(draw.features(q) * draw.features(k)).sum() for draw in draws]).mean()
    # Orthogonal directions of length √m in 64 dimensions have a variance of m / 64 along each: e^(q·k) of these.
    half = 0.5 * float((q + k).square().sum()) * 0.5 - 0.5 * float(q.square().sum() + k.square().sum())
    assert float(kernel) == pytest.approx(math.exp(half), rel=0.1)


@torch.no_grad()
def test_random_features_and_their_sums_are_float32_under_autocast() -> None:
    layer = PerformerLayer(10, 8).eval()
    nn.init.normal_(layer.kqv.weight, std=2.0)
    k, q, v = layer.kqv(torch.randn(2, 5, 10)).chunk(3, -1)
    exact = layer._attended(k, q, v)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer._attended(k, q, v), exact)
        rounded = [part.bfloat16() for part in (k, q, v)]
        found = layer._attended(*rounded)
        assert layer(torch.randn(2, 5, 10)).isfinite().all()
    assert torch.equal(found, layer._attended(*(part.float() for part in rounded)).bfloat16())


def test_dropout_of_the_performer_is_always_on_in_training() -> None:
    layer, x = PerformerLayer(10, 8), torch.randn(2, 5, 10)
    assert not torch.equal(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_the_transformer_layer_scales_by_the_width_that_comes_in() -> None:
    layer = TransformerLayer(147).double().eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(1, 4, 147, dtype=torch.float64)
    q, k, v = layer.attn.qkv(layer.norm1(x)).split(64, -1)
    assert layer.attn.scale == pytest.approx(0.08248, abs=1e-5)
    assert TransformerLayer(576).attn.scale == pytest.approx(0.041667, abs=1e-6)
    y = v + layer.attn.proj(((q @ k.transpose(1, 2)) * 147**-0.5).softmax(-1) @ v)
    mlp = layer.mlp
    expected = y + mlp.fc2(nn.functional.gelu(mlp.fc1(layer.norm2(y))))
    assert torch.allclose(layer(x), expected, atol=1e-10)
