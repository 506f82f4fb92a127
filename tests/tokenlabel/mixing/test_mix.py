"""Do pixels, tokens, targets and labels get the same mix?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import Box
from tests.tokenlabel.distributions import dense, random_targets
from tokenlabel import LabelError, TokenTargets
from tokenlabel.mixing.mix import NOTHING, Mix, Part

CLASSES, GRID, SIZE = 12, (3, 4), (24, 40)

seeds = st.integers(0, 2**32 - 1)


def random_mix(rng: np.random.Generator, count: int, *, level: str = "pixels", size: tuple[int, int] = SIZE) -> Mix:
    """Boxes of whole pixels or tokens of this size, some pictures blended, some left alone."""
    partners = tuple(reversed(range(count)))
    parts: list[Part] = []
    for i in range(count):
        top, left = (int(rng.integers(side)) for side in size)
        bottom, right = int(rng.integers(top, size[0])) + 1, int(rng.integers(left, size[1])) + 1
        cut = Part(Box.from_pixels(top, left, bottom - top, right - left, size), 1.0)
        choices = [NOTHING, cut] if level == "tokens" else [NOTHING, cut, Part(Box.whole(), float(rng.random()))]
        part = choices[rng.integers(len(choices))]
        parts.append(parts[partners[i]] if level == "tokens" and partners[i] < i else part)
    return Mix(partners, tuple(parts), GRID, level)


def share_of(part: Part, place: int) -> float:
    """The fraction of a position that comes from the partner, by counting fine points."""
    y, x = ((np.arange(240) + 0.5) / 240 for _ in range(2))
    inside = np.outer((y > part.box.top) & (y < part.box.bottom), (x > part.box.left) & (x < part.box.right))
    if place == 0:
        return part.weight * inside.mean()
    row, column = divmod(place - 1, GRID[1])
    return part.weight * inside.reshape(GRID[0], 240 // GRID[0], GRID[1], 240 // GRID[1])[row, :, column].mean()


@settings(max_examples=60, deadline=None)
@given(seed=seeds, count=st.integers(1, 5))
def test_each_pixel_is_its_own_or_the_partners_as_its_part_says(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    mix = random_mix(rng, count)
    pixels = torch.from_numpy(rng.random((count, 3, *SIZE)))
    before, mixed = pixels.clone(), mix.pixels(pixels)
    assert torch.equal(pixels, before)
    for i, j in enumerate(mix.partners):
        box, weight = mix.parts[i]
        expected = pixels[i].clone()
        for y, x in np.ndindex(*SIZE):
            if box.top < (y + 0.5) / SIZE[0] < box.bottom and box.left < (x + 0.5) / SIZE[1] < box.right:
                expected[:, y, x] = (1 - weight) * pixels[i, :, y, x] + weight * pixels[j, :, y, x]
        assert torch.allclose(mixed[i], expected)


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_the_fraction_of_a_position_is_the_area_that_the_box_covers_of_it(seed: int) -> None:
    mix = random_mix(np.random.default_rng(seed), 3)
    expected = [[share_of(part, place) for place in range(13)] for part in mix.parts]
    assert mix.fractions.numpy() == pytest.approx(np.array(expected), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, count=st.integers(1, 4), level=st.sampled_from(["pixels", "tokens"]), left_out=st.booleans())
def test_targets_are_the_mix_of_the_distributions(seed: int, count: int, level: str, left_out: bool) -> None:
    rng = np.random.default_rng(seed)
    mix = random_mix(rng, count, level=level, size=GRID if level == "tokens" else SIZE)
    targets = random_targets(rng, count, 12, m=4, class_count=CLASSES)
    if left_out:
        targets = targets.renormalised()
    found = mix.targets(targets, class_count=CLASSES)
    before, after, outside = dense(targets, CLASSES), dense(found, CLASSES), targets.outside.numpy()
    for i, place in np.ndindex(count, 13):
        j, share = mix.partners[i], share_of(mix.parts[i], place)
        if level == "tokens" and place:
            share = 0.0
        own, theirs = (1 - share) * (not outside[i, place]), share * (not outside[j, place])
        if abs(own + theirs - 0.5) < 1e-6:
            continue  # rounding decides
        assert found.outside[i, place] == (own + theirs < 0.5)
        if not found.outside[i, place]:
            expected = (own * before[i, place] + theirs * before[j, place]) / (own + theirs)
            assert after[i, place] == pytest.approx(expected, abs=2e-6)


def test_a_token_half_covered_is_half_of_each() -> None:
    """Classes 0 and 1; the box is the left 3/8 of the picture, which are one token and a half of four."""
    targets = TokenTargets(
        torch.tensor([[[0]] * 5, [[1]] * 5], dtype=torch.int32),
        torch.ones(2, 5, 1),
        torch.zeros(2, 5, dtype=torch.bool),
    )
    mix = Mix((1, 0), (Part(Box(0, 0, 1, 0.375), 1.0), NOTHING), (1, 4))
    found = dense(mix.targets(targets, class_count=2), 2)
    assert found[0].tolist() == [[0.625, 0.375], [0, 1], [0.5, 0.5], [1, 0], [1, 0]]
    assert found[1].tolist() == [[0, 1]] * 5


def test_a_position_is_outside_only_where_most_of_what_it_shows_is() -> None:
    targets = TokenTargets(
        torch.tensor([[[0]] * 5, [[1]] * 5], dtype=torch.int32),
        torch.ones(2, 5, 1),
        torch.zeros(2, 5, dtype=torch.bool),
    )
    targets.outside[0, 1:] = True
    mix = Mix((1, 0), (Part(Box.whole(), 0.6), Part(Box.whole(), 0.4)), (1, 4))
    found = mix.targets(targets, class_count=2)
    assert not found.outside.any()
    assert dense(found, 2)[0, 1:].tolist() == [[0, 1]] * 4  # what is outside teaches nothing
    found = Mix((1, 0), (Part(Box.whole(), 0.4), NOTHING), (1, 4)).targets(targets, class_count=2)
    assert found.outside.tolist() == [[False, True, True, True, True], [False] * 5]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, count=st.integers(1, 5))
def test_tokens_that_were_swapped_come_back_to_their_positions(seed: int, count: int) -> None:
    """With a model that does nothing between stem and head, no token has moved; in between, each box has."""
    rng = np.random.default_rng(seed)
    mix = random_mix(rng, count, level="tokens", size=GRID)
    stem = torch.from_numpy(rng.random((count, 5, *GRID)))
    inside = mix.tokens(stem)
    for i, j in enumerate(mix.partners):
        for row, column in np.ndindex(*GRID):
            swapped = share_of(mix.parts[i], 1 + row * GRID[1] + column) > 0.5
            assert torch.equal(inside[i, :, row, column], stem[j if swapped else i, :, row, column])
    rows = inside.flatten(2).transpose(1, 2)
    assert torch.equal(mix.restored(rows), stem.flatten(2).transpose(1, 2))


def test_a_finer_map_is_mixed_where_the_models_tokens_will_be() -> None:
    """As in VOLO, whose stem gives four tokens where there is one later."""
    mix = Mix((1, 0), (Part(Box(0, 0.5, 1, 1), 1.0),) * 2, (1, 2), "tokens")
    fine = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 4)
    assert mix.tokens(fine)[0, 0].tolist() == [[0, 0, 1, 1]] * 2


def test_gradients_find_their_way_through_swapped_tokens() -> None:
    mix = Mix((1, 0), (Part(Box(0, 0.25, 1, 0.75), 1.0),) * 2, (1, 4), "tokens")
    stem = torch.randn(2, 3, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mix.restored(mix.tokens(x).exp().flatten(2).transpose(1, 2)), stem)


def test_values_of_the_other_level_are_left_alone() -> None:
    part = (Part(Box(0, 0.5, 1, 1), 1.0),) * 2
    pixels, logits = torch.rand(2, 3, 4, 8), torch.rand(2, 2, 7)
    assert Mix((1, 0), part, (1, 2), "tokens").pixels(pixels) is pixels
    assert Mix((1, 0), part, (1, 2)).tokens(pixels) is pixels
    assert Mix((1, 0), part, (1, 2)).restored(logits) is logits


def test_a_label_is_mixed_by_area() -> None:
    mix = Mix((1, 0, 2), (Part(Box(0, 0, 0.5, 0.5), 1.0), Part(Box.whole(), 0.125), NOTHING), (1, 1))
    classes, probabilities = mix.label(torch.tensor([7, 8, 9]))
    assert classes.tolist() == [[7, 8], [8, 7], [9, 9]]
    assert probabilities.tolist() == [[0.75, 0.25], [0.875, 0.125], [1, 0]]
    again = mix.label((classes, probabilities))
    assert again[0][0].tolist() == [7, 8, 8, 7]
    assert again[1][0].tolist() == pytest.approx([0.75**2, 0.75 * 0.25, 0.25 * 0.875, 0.25 * 0.125])


def test_integers_can_be_cut_but_not_blended() -> None:
    pixels = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2).clone()
    cut = Mix((1, 0), (Part(Box(0, 0, 0.5, 1), 1.0),) * 2, (1, 1))
    assert cut.pixels(pixels)[0, 0].tolist() == [[1, 1], [0, 0]]
    with pytest.raises(LabelError, match="MixUp blends float pixels, not torch.uint8; normalise them first"):
        Mix((1, 0), (Part(Box.whole(), 0.5),) * 2, (1, 1)).pixels(pixels)


def test_invalid_partners_and_parts_are_refused() -> None:
    half = Part(Box(0, 0, 1, 0.5), 1.0)
    with pytest.raises(LabelError, match="needs a part and a partner for each picture"):
        Mix((1, 0), (half,), (1, 2))
    with pytest.raises(LabelError, match=r"pairing must be symmetric, but the partners are \(1, 2, 0\)"):
        Mix((1, 2, 0), (half,) * 3, (1, 2))
    with pytest.raises(LabelError, match=r"weights in \[0, 1\]"):
        Mix((0,), (Part(Box.whole(), 1.5),), (1, 2))
    with pytest.raises(LabelError, match="boxes must lie in the picture"):
        Mix((0,), (Part(Box(0, 0, 1, 2), 1.0),), (1, 2))
    for parts in ((half, NOTHING), (Part(Box.whole(), 0.5),) * 2):
        with pytest.raises(LabelError, match='must swap the same box.* use mode="batch" or mode="pair"'):
            Mix((1, 0), parts, (1, 2), "tokens")


def test_pictures_and_tokens_of_another_number_than_the_mix_are_refused() -> None:
    mix = Mix((1, 0), (Part(Box(0, 0, 1, 1 / 3), 1.0),) * 2, (2, 3), "tokens")
    with pytest.raises(LabelError, match="a mix of 2 pictures was applied to a batch of 3; draw a mix for each batch"):
        mix.tokens(torch.zeros(3, 4, 2, 3))
    with pytest.raises(LabelError, match="a mix of 2x3 tokens was applied to logits of 5 tokens"):
        mix.restored(torch.zeros(2, 5, 7))
    with pytest.raises(LabelError, match="2x3 tokens was applied to targets of 12 tokens; make the Mixer with the"):
        mix.targets(random_targets(np.random.default_rng(0), 2, 12), class_count=CLASSES)
    with pytest.raises(LabelError, match="a mix of 2 pictures was applied to targets of 3"):
        mix.targets(random_targets(np.random.default_rng(0), 3, 6), class_count=CLASSES)
    with pytest.raises(LabelError, match="of an axis of 4 pixels or tokens cuts one of them in two"):
        mix.tokens(torch.zeros(2, 4, 2, 4))
