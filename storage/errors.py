"""Which errors does storage raise? One base class to catch, and a subclass for each case that callers distinguish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Explained = TypeVar("Explained", bound=Exception)


def explained(error: Explained, page: str) -> Explained:
    """The error with a note that names the page of docs/ which explains it: a traceback and `annotate` show it last.

    Args:
        error: the error.
        page: a page and its heading, such as "cluster.md#one-machine"; a test checks that both exist.
    """
    error.add_note(f"docs/{page} explains it")
    return error


class StoreError(Exception):
    """Something is wrong with a store or with what was asked of it; the message says what to do."""


class NotAStoreError(StoreError):
    """The address holds nothing, or something that is not a store of label maps."""


class FormatError(StoreError):
    """The store was written in a format that this version does not read."""


class DamageError(StoreError):
    """Bytes of the store are missing or not what was written."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        explained(self, "reliability.md")


class UnreadableError(StoreError):
    """Something of the store could not be read: permissions, a mount, a server, a link that leads elsewhere.

    That says nothing of the bytes: they may be sound. So nothing is ever forgotten or labelled again because of it.
    """


class NotLabelledError(StoreError):
    """The requested rows have no committed labels yet."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        explained(self, "label.md")


class KeyNotFoundError(StoreError):
    """The store has no row for this key."""


class MismatchError(StoreError):
    """A run and the store at its address disagree. `differences` has one sentence for each field."""

    def __init__(
        self,
        address: str,
        differences: Sequence[str],
        *,
        opening: str | None = None,
        advice: str = "Use the same settings and pictures to resume it, or give a new address to make another store.",
    ) -> None:
        """Args: address of the store, the differences, what could not be done, and what to do."""
        self.differences = tuple(differences)
        lines = "".join(f"\n  - {difference}" for difference in self.differences)
        opening = opening or f"cannot continue the store {address}: it was made with other settings or pictures."
        super().__init__(f"{opening}{lines}\n{advice}")


# Errors that several backends raise.


def no_store(address: str) -> NotAStoreError:
    """No store exists at this address."""
    bucket = " (or the bucket does not exist)" if "://" in address else ""
    return NotAStoreError(f"there is no store at {address}{bucket}; `annotate run IMAGES {address}` makes one")


def leads_nowhere(address: str, target: str) -> NotAStoreError:
    """A symbolic link is at the address, and what it leads to is not there."""
    return NotAStoreError(
        f"{address} is a symbolic link to {target}, and nothing is there. If that is on another disk or mount, connect "
        "it; otherwise remove the link, or give another address"
    )


def a_file(address: str) -> NotAStoreError:
    """A file is at the address instead of a folder."""
    return NotAStoreError(f"{address} is a file, not a store of label maps; give another address")


def not_empty(address: str) -> NotAStoreError:
    """Other files are at the address of a new store."""
    return NotAStoreError(f"{address} is not empty and not a store of label maps; give another address")


def another(address: str, name: str) -> NotAStoreError:
    """The object that should describe a store does not."""
    return NotAStoreError(
        f"{address} is not a store of label maps: its {name} does not describe one; give another address"
    )


def cannot_make(address: str, error: OSError) -> StoreError:
    """A new store, or its folder, cannot be made."""
    return StoreError(
        f"cannot make the folder of {address}: {error}. Give an address below a folder in which this user may write, "
        "or make room on its disk or connect its mount, and run the same command again."
    )


def cannot_write(address: str, rows: range, why: str, *, begun: bool = False) -> StoreError:
    """Writing a shard failed. begun: after labels that may have been there were removed."""
    state, again = "Nothing is lost", ""
    if begun:
        state, again = "These rows may be pending now, even if they had labels", " and writes them again"
    return StoreError(
        f"cannot write rows {rows.start} to {rows.stop} of {address}: {why}. {state}: "
        f"when the cause is fixed, the same command continues here{again}."
    )


def too_large(address: str, name: str, size: int, most: int) -> DamageError:
    """An object has more bytes than it may have."""
    return DamageError(f"{name} of {address} has {size:,} bytes; it may have {most:,}")


def not_labelled(address: str, rows: range) -> NotLabelledError:
    """The shard of these rows has no commit record."""
    return NotLabelledError(
        f"rows {rows.start} to {rows.stop} of {address} have no labels yet; `annotate run` labels them"
    )


def gone(address: str) -> StoreError:
    """The folder of a store that is open is not there any more, is an empty mount point, or has another store."""
    return StoreError(
        f"the store {address} is gone: its folder, or its own header in it, is not there. Is its disk or mount still "
        "connected? Nothing is lost: when it is there again, run the same command to continue."
    )


def opened_for_reading(address: str) -> StoreError:
    """The store was opened for reading, and something was to be written."""
    return StoreError(f"cannot write to {address}: it was opened for reading; open it with writable=True")
