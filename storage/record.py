"""How does a shard say that it is finished? By its commit record, which is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from storage.errors import DamageError
from storage.status import Status


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A picture without a label: its row, its status, and the reason in words."""

    row: int
    status: Status
    reason: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """The commit record of one shard.

    start, stop: its rows
    labelled:    how many of them have a label
    failures:    why each of the others has none
    objects:     SHA-256 of every storage object of the shard, in hexadecimal, by its key in the store. A crc32c over
                 bytes that end with their own crc32c says nothing: it depends on their length alone
    run:         who wrote it, when, in which attempt, in how many seconds. The one part that two runs may differ in.
    """

    start: int
    stop: int
    labelled: int
    failures: tuple[Failure, ...] = ()
    objects: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> range:
        """The rows of the shard."""
        return range(self.start, self.stop)

    def to_text(self) -> str:
        """One line of JSON."""
        values = asdict(self)
        values["failures"] = [{**failure, "status": failure["status"].word} for failure in values["failures"]]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The record of `to_text`'s line.

        Raises:
            DamageError: the text is not a record.
        """
        try:
            values = json.loads(text)
            failures = tuple(
                Failure(row=failure["row"], status=Status[failure["status"].upper()], reason=failure["reason"])
                for failure in values.pop("failures")
            )
            known = {name.name for name in fields(cls)}  # what a later version has added may be ignored in this format
            return cls(failures=failures, **{name: value for name, value in values.items() if name in known})
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise DamageError(
                f"a commit record is not readable ({error!r}): {text[:80]!r}; `annotate verify` says what to do"
            ) from error
