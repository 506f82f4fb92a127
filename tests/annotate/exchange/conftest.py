"""What do the tests of import and export start from?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.annotate.exchange.collection import Collection


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path)


@pytest.fixture
def one_wrong(collection: Collection) -> Collection:
    """Five pictures in three shards; the label file of the third is for the test to spoil."""
    collection.labelled(*(f"cat/{name}.jpg" for name in "abde"))
    collection.picture("cat/c.jpg")
    return collection
