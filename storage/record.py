"""How is a shard marked as finished? By its commit record, which is written last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

from storage import json_fields as fields
from storage.errors import DamageError
from storage.schema import MOST_ROWS
from storage.status import Status

_WORDS = {status.word: status for status in Status if status not in (Status.LABELLED, Status.PENDING)}
# What readers use of a run, where it says so.
_RUN: dict[str, Callable[[Mapping[str, Any], str], object]] = {
    "run": fields.text,
    "attempt": lambda values, name: fields.whole_number(values, name, 0, MOST_ROWS),
    "seconds": fields.number,
    "finished": fields.text,
    "worker": fields.text,
    "device": fields.text,
}


def check_run(run: Mapping[str, Any]) -> None:
    """Check what readers use of what a record says of its run; it may say more.

    Raises:
        ValueError: a field is of another type, or out of its range.
    """
    for known in _RUN.keys() & run.keys():
        _RUN[known](run, known)


def most_bytes(rows: int) -> int:
    """The bytes that the commit record of so many rows may have: a reason is a few lines of text."""
    return 2**20 + 2**16 * rows


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A picture without a label: its row, its status, and the reason in words."""

    row: int
    status: Status
    reason: str


class KeyedFailure(NamedTuple):
    """A picture without a label, named by its key. A `Failure` in a commit record has its row instead.

    key:    the picture's key
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
    objects:     SHA-256 of every storage object of the shard, in hexadecimal, by its key in the store. No crc32c
                 here: over data ending in its own crc32c it is constant.
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
    def from_text(cls, text: str, *, name: str = "a commit record", rows: range | None = None) -> Self:
        """The record of `to_text`'s line.

        Args:
            text: the line.
            name: name of the record in errors.
            rows: that it must be of, or None.

        Raises:
            DamageError: the text is not a record, or not of these rows.
        """
        try:
            record = cls._of(fields.json_object(json.loads(text), "it"))  # further fields of later versions are ignored
        except (RecursionError, ValueError) as error:
            raise DamageError(
                f"{name} is not a record ({error}): {text[:80]!r}; `annotate verify` says what to do"
            ) from error
        if rows is not None and record.rows != rows:
            raise DamageError(
                f"{name} is of rows {record.start} to {record.stop}, not of rows {rows.start} to {rows.stop}: it "
                "belongs to another shard; `annotate verify` says what to do"
            )
        return record

    @classmethod
    def _of(cls, values: Mapping[str, Any]) -> Self:
        """The record of these JSON values.

        Raises:
            ValueError: they are not those of a record.
        """
        start = fields.whole_number(values, "start", 0, MOST_ROWS - 1)
        stop = fields.whole_number(values, "stop", start + 1, MOST_ROWS)
        labelled = fields.whole_number(values, "labelled", 0, stop - start)
        if not isinstance(listed := values.get("failures"), list):
            raise ValueError(f"failures is {fields.shown(listed)}, not a list")
        failures = tuple(_failure(fields.json_object(each, "a failure"), start, stop) for each in listed)
        if len({failure.row for failure in failures}) != len(failures):
            raise ValueError("a row failed twice")
        if labelled + len(failures) != stop - start:
            raise ValueError(f"it accounts for {labelled} + {len(failures)} of {stop - start} rows")
        objects = fields.json_object(values.get("objects"), "objects")
        run = fields.json_object(values.get("run"), "run")
        check_run(run)
        return cls(
            start=start,
            stop=stop,
            labelled=labelled,
            failures=failures,
            objects={name: fields.sha256(objects, name) for name in objects},
            run=run,
        )


def _failure(values: Mapping[str, Any], start: int, stop: int) -> Failure:
    """A failure of a record of these rows.

    Raises:
        ValueError: the values are not those of one.
    """
    status = fields.text(values, "status")
    if status not in _WORDS:
        raise ValueError(f"status is {fields.shown(status)}, not one of {', '.join(_WORDS)}")
    row = fields.whole_number(values, "row", start, stop - 1)
    return Failure(row=row, status=_WORDS[status], reason=fields.text(values, "reason"))
