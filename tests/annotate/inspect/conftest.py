"""What do the tests of inspection start from?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage import LabelMap, LabelStore
from tests.annotate.inspect.stores import COUNT, a_store
from tests.labels import random_labels


@pytest.fixture
def labels() -> LabelMap:
    return random_labels(np.random.default_rng(0), 10, class_count=COUNT)


@pytest.fixture
def store(labels: LabelMap, tmp_path: Path) -> LabelStore:
    return a_store(tmp_path / "labels.zarr", labels)
