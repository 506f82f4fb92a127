"""How is a shard marked as finished? By its commit record, which is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, Self

from storage.errors import DamageError
from storage.status import Status


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A picture without a label: its row, its status, and the reason in words."""

    row: int
    status: Status
    reason: str


class KeyedFailure(NamedTuple):
    """A picture without a label, named by its key. A `Failure` in a commit record has its row instead.

    key:    of the picture
    status: in one word, see `Status.word`
    reason: in words

    Examples:
        >>> KeyedFailure("cat/1.jpg", "missing", "the file is gone").to_json()
        {'key': 'cat/1.jpg', 'status': 'missing', 'reason': 'the file is gone'}
    """

    key: str
    status: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Plain JSON values."""
        return self._asdict()


@dataclass(frozen=True, kw_only=True)
class Record:
    """The commit record of one shard.

    start, stop: its rows
    labelled:    how many of them have a label
    failures:    why each of the others has no label
    objects:     SHA-256 of every storage object of the shard, in hexadecimal, by its key in the store. A crc32c over
                 bytes that end with their own crc32c says nothing: it depends on their length alone
    run:         who wrote it, when, in which attempt, in how many seconds. The only part in which two runs may differ.
    """

    start: int
    stop: int
    labelled: int
    failures: tuple[Failure, ...] = ()
    objects: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Its rows and how many have a label, without the failures one by one."""
        return f"Record(rows {self.start} to {self.stop}, {self.labelled} labelled, {len(self.failures)} failed)"

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
            known = {
                name.name for name in fields(cls)
            }  # fields that a later version added may be ignored in this format
            return cls(failures=failures, **{name: value for name, value in values.items() if name in known})
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise DamageError(
                f"cannot read a commit record ({error!r}): {text[:80]!r}; `annotate verify` says what to do"
            ) from error
