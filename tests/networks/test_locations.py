"""Are a network's locations found in maps and in tokens, and is what forms no grid refused?"""

from __future__ import annotations

import pytest
import torch

from networks.locations import Locations


def test_tokens_follow_the_prefix_row_by_row() -> None:
    locations = Locations(prefix=2, channels_last=False, stride=16)
    features = torch.arange(2 + 6.0).view(1, 8, 1)
    assert locations.grid(features, (32, 48)) == (2, 3)
    assert locations.each(features)[:, 0, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert locations.each(features).shape == (6, 3, 1)  # as many tokens in front as the head expects


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_map_is_read_row_by_row(channels_last: bool) -> None:
    locations = Locations(prefix=0, channels_last=channels_last, stride=None)
    features = torch.arange(6.0).view(1, 1, 2, 3)
    features = features.permute(0, 2, 3, 1) if channels_last else features
    assert locations.grid(features, (64, 96)) == (2, 3)
    assert locations.each(features).flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_edges_may_be_padded_or_dropped() -> None:
    locations = Locations(prefix=0, channels_last=False, stride=16)
    assert locations.grid(torch.zeros(1, 9, 4), (40, 40)) == (3, 3)
    assert locations.grid(torch.zeros(1, 4, 4), (40, 40)) == (2, 2)


def test_what_forms_no_grid_is_refused() -> None:
    locations = Locations(prefix=0, channels_last=False, stride=16)
    for features, why in (
        (torch.zeros(1, 5, 4), "its 5 tokens form no grid of cells of 16x16 pixels"),
        (torch.zeros(1, 5), "gives 2 axes, not a map or tokens"),
        ([torch.zeros(1)], "several sets of features"),
    ):
        with pytest.raises(ValueError, match=why):
            locations.grid(features, (32, 32))
