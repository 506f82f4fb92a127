"""Do tokenizers, transformer and projector compute their equations? Against explicit loops, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tokenlabel.models.visual_transformer.module import Projector, TokenTransformer, VisualTransformer
from tokenlabel.models.visual_transformer.tokenizers import FilterTokenizer, RecurrentTokenizer

B, N, C, L, WIDE = 2, 6, 4, 3, 8
F64: dict[str, Any] = {"dtype": torch.float64}


def softmax(scores: list[float]) -> list[float]:
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def mean(weights: list[float], vectors: torch.Tensor) -> torch.Tensor:
    return sum((weight * vector for weight, vector in zip(weights, vectors, strict=True)), torch.zeros_like(vectors[0]))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(B, N, C, generator=torch.Generator().manual_seed(1), **F64)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(B, L, C, generator=torch.Generator().manual_seed(2), **F64)


@pytest.mark.parametrize(("width", "value"), [(C, False), (C, True), (WIDE, True)])
def test_filter_tokens_are_means_of_places_by_learned_filters(x: torch.Tensor, width: int, value: bool) -> None:
    tokenizer = FilterTokenizer(C, L, width=width, value=value, **F64)
    found = tokenizer(x)
    assert found.shape == (B, L, width)
    for b in range(B):
        for token in range(L):
            scores = [float(x[b, n] @ tokenizer.filters.weight[token]) for n in range(N)]
            expected = mean(softmax(scores), x[b] @ tokenizer.value.weight.T if value else x[b])
            assert torch.allclose(found[b, token], expected, atol=1e-12)


@pytest.mark.parametrize(("width", "value"), [(C, False), (C, True), (WIDE, True)])
def test_recurrent_tokens_are_looked_for_by_those_before(x: torch.Tensor, width: int, value: bool) -> None:
    before = torch.randn(B, L, width, generator=torch.Generator().manual_seed(2), **F64)
    tokenizer = RecurrentTokenizer(C, width=width, value=value, **F64)
    found = tokenizer(x, before)
    assert found.shape == (B, L, width)
    for b in range(B):
        for token in range(L):
            looked_for = tokenizer.filters.weight @ before[b, token]
            scores = [float(x[b, n] @ looked_for) / math.sqrt(C) for n in range(N)]
            expected = mean(softmax(scores), x[b] @ tokenizer.value.weight.T if value else x[b])
            assert torch.allclose(found[b, token], expected, atol=1e-12)


def test_attention_of_tokenizers_sums_to_one_over_places(x: torch.Tensor, tokens: torch.Tensor) -> None:
    of_filter = FilterTokenizer(C, L, width=C, value=False, **F64).attention(x)
    of_recurrent = RecurrentTokenizer(C, width=C, value=False, **F64).attention(x, tokens)
    for attention in (of_filter, of_recurrent):
        assert attention.shape == (B, L, N)
        assert attention.min() > 0
        assert torch.allclose(attention.sum(2), torch.ones(B, L, **F64))
        assert not torch.allclose(attention.sum(1), attention.sum(1)[:, :1])


@pytest.mark.parametrize(("heads", "value"), [(1, False), (2, False), (2, True)])
def test_the_transformer_adds_means_of_tokens_and_then_two_layers(
    tokens: torch.Tensor, heads: int, value: bool
) -> None:
    layer = TokenTransformer(C, heads=heads, value=value, **F64)
    found, wide = layer(tokens), C // heads
    for b in range(B):
        keys, queries = tokens[b] @ layer.key.weight.T, tokens[b] @ layer.query.weight.T
        values = tokens[b] @ layer.value.weight.T if value else tokens[b]
        middle = tokens[b].clone()
        for i in range(L):
            for head in range(heads):
                part = slice(head * wide, (head + 1) * wide)
                scores = [float(keys[i, part] @ queries[j, part]) / math.sqrt(wide) for j in range(L)]
                middle[i, part] += mean(softmax(scores), values[:, part])
        expected = middle + (middle @ layer.fc1.weight.T).clamp(min=0) @ layer.fc2.weight.T
        assert torch.allclose(found[b], expected, atol=1e-12)


@pytest.mark.parametrize(("width", "heads", "value"), [(C, 1, False), (C, 2, True), (WIDE, 2, True)])
def test_the_projector_adds_to_each_place_a_mean_of_tokens(
    x: torch.Tensor, width: int, heads: int, value: bool
) -> None:
    tokens = torch.randn(B, L, width, generator=torch.Generator().manual_seed(3), **F64)
    layer = Projector(C, width=width, heads=heads, value=value, **F64)
    found, wide = layer(x, tokens), C // heads
    for b in range(B):
        values = tokens[b] @ layer.value.weight.T if value else tokens[b]
        keys = tokens[b] @ layer.key.weight.T
        for n in range(N):
            query, expected = layer.query.weight @ x[b, n], x[b, n].clone()
            for head in range(heads):
                part = slice(head * wide, (head + 1) * wide)
                scores = [float(query[part] @ keys[j, part]) / math.sqrt(wide) for j in range(L)]
                expected[part] += mean(softmax(scores), values[:, part])
            assert torch.allclose(found[b, n], expected, atol=1e-12)


def test_a_module_projects_the_tokens_that_its_transformer_gives(x: torch.Tensor) -> None:
    module = VisualTransformer(C, L, width=WIDE, heads=2, value=True, project=True, **F64)
    places, tokens = module(x)
    assert torch.equal(tokens, module.transformer(module.tokenizer(x)))
    assert torch.equal(places, module.projector(x, tokens))


def test_another_order_of_tokens_changes_no_place(x: torch.Tensor) -> None:
    order = torch.tensor([2, 0, 1])
    first = VisualTransformer(C, L, width=C, heads=2, value=True, project=True, **F64)
    second = VisualTransformer(C, None, width=C, heads=2, value=True, project=True, **F64)
    middle, tokens = first(x)
    last, later = second(middle, tokens)
    first.tokenizer.filters.weight.copy_(first.tokenizer.filters.weight[order])
    middle_again, tokens_again = first(x)
    last_again, later_again = second(middle_again, tokens_again)
    assert torch.allclose(tokens_again, tokens[:, order], atol=1e-12)
    assert not torch.allclose(tokens_again, tokens)
    assert torch.allclose(later_again, later[:, order], atol=1e-12)
    assert torch.allclose(middle_again, middle, atol=1e-12)
    assert torch.allclose(last_again, last, atol=1e-12)


def test_another_order_of_places_changes_their_order_and_no_token(x: torch.Tensor) -> None:
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    module = VisualTransformer(C, L, width=C, heads=1, value=False, project=True, **F64)
    (places, tokens), (moved, same) = module(x), module(x[:, order])
    assert torch.allclose(same, tokens, atol=1e-12)
    assert torch.allclose(moved, places[:, order], atol=1e-12)


def test_without_a_projector_places_stay_as_they_are(x: torch.Tensor) -> None:
    module = VisualTransformer(C, L, width=C, heads=1, value=False, project=False, **F64)
    assert torch.equal(module(x)[0], x)


def test_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens of width 8 cannot be made of 4 channels.*give value=True, or token_w"):
        FilterTokenizer(C, L, width=WIDE, value=False)
    with pytest.raises(ValueError, match="a width of 4 cannot be divided into 3 heads; give a divisor of it"):
        TokenTransformer(C, heads=3, value=False)
    with pytest.raises(ValueError, match="a width of 4 cannot be divided into 0 heads"):
        Projector(C, width=C, heads=0, value=False)
