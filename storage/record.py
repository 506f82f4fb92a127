"""How is a shard marked as finished? By its commit record, which is written last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Self

from storage import json_fields as fields
from storage.errors import DamageError, StoreError
from storage.schema import MOST_ROWS
from storage.status import Status

# Bytes of a record's text: at most for a run and the names of objects, for a row that failed, and for all; at least for
# such a row; at most for what such a row has beside its reason; and at most for what a store adds to the text.
_MOST_OF_RUN, _MOST_OF_ROW, _MOST = 2**16, 2**12, 2**26
_LEAST_OF_ROW, _BESIDE_REASON, _OF_FORMAT = 40, 100, 64
_CUT = "…"  # ends a reason that was longer
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
    """The bytes that the commit record of so many rows may have. `Record.of` cuts reasons so that they fit."""
    return min(_MOST_OF_RUN + _MOST_OF_ROW * rows, _MOST)


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

    @classmethod
    def of(
        cls, rows: range, *, failures: Sequence[Failure], objects: Mapping[str, str], run: Mapping[str, Any]
    ) -> Self:
        """The record of a shard of these rows that is written now. Reasons that are too long to be read are cut."""
        share = (most_bytes(len(rows)) - _MOST_OF_RUN) // max(1, len(failures))
        room = min(share, _MOST_OF_ROW) - _BESIDE_REASON
        return cls(
            start=rows.start,
            stop=rows.stop,
            labelled=len(rows) - len(failures),
            failures=tuple(replace(failure, reason=_cut(failure.reason, room)) for failure in failures),
            objects=objects,
            run=run,
        )

    @property
    def rows(self) -> range:
        """The rows of the shard."""
        return range(self.start, self.stop)

    def to_text(self) -> str:
        """One line of JSON.

        Raises:
            StoreError: it is longer than what is read.
        """
        values = asdict(self)
        values["failures"] = [{**failure, "status": failure["status"].word} for failure in values["failures"]]
        text = json.dumps(values, sort_keys=True)
        if len(text) > (most := most_bytes(len(self.rows)) - _OF_FORMAT):
            raise StoreError(
                f"cannot write rows {self.start} to {self.stop}: their commit record, with {len(self.failures):,} "
                f"pictures without a label and what `run` says, would have {len(text):,} bytes, and at most {most:,} "
                "are read. Use fewer rows_per_shard, or say less in `run`"
            )
        return text

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
            most = min(MOST_ROWS if rows is None else len(rows), _MOST // _LEAST_OF_ROW) + _MOST_OF_RUN
            values = fields.parsed(text.encode(), most_bytes=_MOST, most=most)
            record = cls._of(fields.json_object(values, "it"))  # further fields of later versions are ignored
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


def _cut(reason: str, room: int) -> str:
    """As much of a reason as takes so many bytes in JSON, where what is not ASCII takes 6 or 12 a character."""
    if _size(reason) <= room:
        return reason
    left, kept = room - _size(_CUT), 0
    for character in reason:
        if (left := left - _size(character)) < 0:
            break
        kept += 1
    return reason[:kept] + _CUT if kept else ""


def _size(text: str) -> int:
    return len(json.dumps(text)) - 2
