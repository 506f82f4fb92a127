"""What can be wrong with a store? One base class to catch, and a child for each case that callers tell apart."""

from __future__ import annotations

from collections.abc import Sequence


class StoreError(Exception):
    """Something is wrong with a store or with what was asked of it; the message says what to do."""


class NotAStoreError(StoreError):
    """The address holds nothing, or something that is not a store of label maps."""


class FormatError(StoreError):
    """The store was written in a format that this version does not read."""


class DamageError(StoreError):
    """Bytes of the store are missing or not what was written."""


class NotLabelledError(StoreError):
    """The rows asked for have no committed labels yet."""


class KeyNotFoundError(StoreError):
    """The store has no row for this key."""


class MismatchError(StoreError):
    """A run and the store at its address disagree. `differences` has one sentence for each field."""

    def __init__(self, address: str, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        lines = "".join(f"\n  - {difference}" for difference in self.differences)
        super().__init__(
            f"cannot go on with the store {address}: it was made differently.{lines}\n"
            "Use the same settings and pictures to resume it, or give a new address to make another store."
        )
