"""Does the memory hold the latest descriptors, of whom and of what, and nothing else?"""

from __future__ import annotations

import pytest
import torch

from tokenlabel import LabelError
from tokenlabel.retrieval import CrossBatchMemory


def batch(first: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    indices = torch.arange(first, first + count)
    return indices[:, None] * torch.ones(2), indices % 3, indices


def test_it_grows_to_its_size_and_then_forgets_the_oldest() -> None:
    memory = CrossBatchMemory(5, 2)
    assert len(memory) == 0
    assert [len(part) for part in memory.contents()] == [0, 0, 0]
    for first, held in ((0, [0, 1, 2]), (3, [1, 2, 3, 4, 5]), (6, [4, 5, 6, 7, 8])):
        memory.add(*batch(first, 3))
        descriptors, identities, indices = memory.contents()
        assert sorted(indices.tolist()) == held
        assert torch.equal(descriptors[:, 0].long(), indices)
        assert torch.equal(identities, indices % 3)


def test_of_a_batch_larger_than_itself_it_keeps_the_last() -> None:
    memory = CrossBatchMemory(3, 2)
    memory.add(*batch(0, 2))
    memory.add(*batch(10, 7))
    assert sorted(memory.contents()[2].tolist()) == [14, 15, 16]
    memory.add(*batch(20, 1))
    assert sorted(memory.contents()[2].tolist()) == [15, 16, 20]


def test_entries_have_no_gradients_and_do_not_change_later() -> None:
    memory = CrossBatchMemory(4, 2)
    descriptors, identities, indices = batch(0, 2)
    memory.add(descriptors.requires_grad_(), identities, indices)
    held = memory.contents()[0]
    assert not held.requires_grad
    memory.add(*batch(7, 4))
    assert held[:, 0].tolist() == [0, 1]


def test_identities_may_be_distributions_and_it_is_saved_as_weights() -> None:
    memory = CrossBatchMemory(4, 2, class_count=3)
    memory.add(torch.ones(2, 2), torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([8, 9]))
    again = CrossBatchMemory(4, 2, class_count=3)
    again.load_state_dict(memory.state_dict())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again.contents(), memory.contents(), strict=True))
    assert repr(again) == "CrossBatchMemory(2 of 4 entries)"


def test_a_memory_of_nothing_is_refused() -> None:
    with pytest.raises(LabelError, match="a memory has at least one entry, not 0; leave it out for the batch alone"):
        CrossBatchMemory(0, 2)
