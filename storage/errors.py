"""What can be wrong with a store? One base class to catch, and a subclass for each case that callers distinguish."""

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


class UnreadableError(StoreError):
    """Something of the store could not be read: permissions, a mount, a server, a link that leads elsewhere.

    That says nothing of the bytes: they may be sound. So nothing is ever forgotten or labelled again because of it.
    """


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


# The errors of more than one backend, worded once.


def no_store(address: str) -> NotAStoreError:
    """No store exists at this address."""
    bucket = " (or no such bucket)" if "://" in address else ""
    return NotAStoreError(f"there is no store at {address}{bucket}; `annotate run IMAGES {address}` makes one")


def a_file(address: str) -> NotAStoreError:
    """There is a file where a store's folder should be."""
    return NotAStoreError(f"{address} is a file, not a store of label maps; give another address")


def not_empty(address: str) -> NotAStoreError:
    """There are other files where a new store should be."""
    return NotAStoreError(f"{address} is not empty and not a store of label maps; give another address")


def another(address: str, name: str) -> NotAStoreError:
    """The object that should describe the store describes something else."""
    return NotAStoreError(f"{address} is not a store of label maps: its {name} is something else; give another address")


def cannot_write(address: str, rows: range, why: str) -> StoreError:
    """Writing a shard failed."""
    return StoreError(
        f"cannot write rows {rows.start} to {rows.stop} of {address}: {why}. Nothing is lost: "
        "when the cause is fixed, the same command continues here."
    )


def opened_for_reading(address: str) -> StoreError:
    """The store was opened for reading, and something was to be written."""
    return StoreError(f"cannot write to {address}: it was opened for reading")
