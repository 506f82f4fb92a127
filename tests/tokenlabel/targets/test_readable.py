"""Are the numbers of a tensor checked where there are any, and nowhere else?"""

from __future__ import annotations

import torch

from tokenlabel.targets.readable import can_be_read


def test_numbers_are_checked_where_a_check_breaks_nothing() -> None:
    assert can_be_read(torch.zeros(2))
    assert not can_be_read(torch.zeros(0))
    assert not can_be_read(torch.zeros(2, device="meta"))  # as little as on a GPU


def test_numbers_are_not_checked_under_torch_func_nor_in_a_graph() -> None:
    found = []

    def look(numbers: torch.Tensor) -> torch.Tensor:
        found.append(can_be_read(numbers))
        return numbers

    torch.func.vmap(look)(torch.zeros(2))
    torch.fx.experimental.proxy_tensor.make_fx(look)(torch.zeros(2))
    assert torch.compile(lambda numbers: numbers + can_be_read(numbers), backend="eager")(torch.zeros(2)).sum() == 0
    assert found == [False, False]
