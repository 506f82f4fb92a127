"""Which targets and logits are the losses tested with?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.labels import random_labels
from tests.tokenlabel.distributions import dense
from tokenlabel import TokenTargets, random_view, token_targets

CLASSES, TOKENS = 40, (4, 3)


@pytest.fixture
def targets() -> TokenTargets:
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 5, class_count=CLASSES)
    return token_targets(labels, [random_view(rng, (60, 80)) for _ in range(5)], TOKENS, keep=6)


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    """Of the pictures and of their tokens."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, CLASSES, generator=generator), torch.randn(5, 12, CLASSES, generator=generator)


def whole(targets: TokenTargets, class_count: int = CLASSES) -> torch.Tensor:
    return torch.from_numpy(dense(targets, class_count))
