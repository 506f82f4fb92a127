"""What must every backend keep? One class of tests, which each backend's tests inherit."""

from __future__ import annotations

from tests.storage.contract.copies import Copies
from tests.storage.contract.damage import Damage
from tests.storage.contract.making import Making
from tests.storage.contract.processes import Processes
from tests.storage.contract.reading import ReadingAndWriting


class StoreContract(ReadingAndWriting, Making, Processes, Damage, Copies):
    """All of it. Subclasses give the fixtures that `StoreFixtures` names."""
