"""What did a run do? What it labelled, what has no label and why, and what the whole collection has now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotate.jobs.workers import ShardOutcome
from annotate.locality import Locality
from annotate.model.annotator import NOT_FINITE
from annotate.text import duration, hide_home, printable
from storage import DamageError, KeyedFailure, LabelStore, Progress, Record, UnreadableError

UNKNOWN = "of unknown accuracy"
_REMARKS = {
    "exact": "",
    "token head": "labels come from the network's head for tokens, whose mean need not equal the network's own answer",
    "own map": "labels are the network's own map",
    UNKNOWN: "the store does not say how far the dense head is from the network's own answer",
}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did.

    pictures:     number in the whole collection, or in the part of it that the run was given
    labelled:     how many of them have a label now
    failures:     key, status and reason of each of them that could not be labelled, in this run or an earlier one
    given_up:     rows and reason of each shard that failed in every attempt; running again tries it again
    labelled_now: pictures that this run labelled
    seconds:      how long this run took
    tried:        pictures of the shards that this run finished
    joined:       pictures of this run that another run labelled in the meantime
    retried:      shards that this run finished in a second or third attempt
    work:         seconds of worker time for the shards that this run finished, by device
    left_out:     files that were skipped, because their names are not those of pictures
    head:         how close the dense head of each network is to the network's own answer, as `str(Consistency)` has it,
                  joined by ", "; "of unknown accuracy" where the store does not say
    locality:     how far the labels depend on their own location alone; None where the store does not say
    """

    pictures: int
    labelled: int
    failures: tuple[KeyedFailure, ...] = field(repr=False)
    given_up: tuple[tuple[range, str], ...] = field(repr=False)
    labelled_now: int
    seconds: float
    left_out: int
    head: str
    tried: int = 0
    joined: int = 0
    retried: int = 0
    work: Mapping[str, float] = field(default_factory=dict, repr=False)
    locality: Locality | None = field(default=None, repr=False)

    @property
    def complete(self) -> bool:
        """Whether every picture has a label."""
        return self.labelled == self.pictures

    def describe(self, shown: int = 20) -> str:
        """What the run did, as text for the user, with at most `shown` of the failures."""
        if self.labelled_now:
            speed = self.labelled_now / max(self.seconds, 1e-9)
            lines = [f"labelled {self.labelled_now:,} pictures in {duration(self.seconds)}, {speed:,.1f} a second"]
            lines += [f"  {_hours(device, seconds)}" for device, seconds in self.work.items()]
        elif self.joined and not self.given_up:
            lines = []
        else:
            some = self.tried or self.given_up
            lines = ["nothing could be labelled" if some else "there was nothing left to label"]
        if self.joined:
            lines.append(f"another run labelled {self.joined:,} {'more ' if self.labelled_now else ''}meanwhile")
        if self.retried:
            lines.append(f"{self.retried:,} shards were finished in a second or third attempt")
        lines += _about_heads(self.head)
        if self.locality is not None:
            lines.append(self.locality.sentence)
        lines.append(f"{self.labelled:,} of {self.pictures:,} pictures are labelled")
        if self.left_out:
            lines.append(f"{self.left_out:,} other files were skipped (not picture names)")
        if self.failures:
            lines.append(f"{len(self.failures):,} pictures could not be labelled:")
            lines += [f"  {printable(key)}: {word}, {printable(why)}" for key, word, why in self.failures[:shown]]
        if len(self.failures) > shown:
            lines.append(f"  … and {len(self.failures) - shown:,} more")
        if not_finite := sum(failure.reason == NOT_FINITE for failure in self.failures):
            lines.append(
                f"{not_finite:,} of them need no repair: they can be read, but the networks give no finite answer. "
                "Other weights or another --precision may give one, in a store of their own"
            )
        if len(self.failures) > not_finite:
            these = "the other" if not_finite else "these"
            lines.append(
                f"repair or replace {these} files, then run the same command with --retry-failed to label them"
            )
        for rows, why in self.given_up:
            lines.append(
                f"rows {rows.start} to {rows.stop} were given up: {printable(why)}; run the command again to retry them"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "labelled": self.labelled,
            "failures": [failure.to_json() for failure in self.failures],
            "given_up": [{"rows": [rows.start, rows.stop], "reason": why} for rows, why in self.given_up],
            "labelled_now": self.labelled_now,
            "seconds": round(self.seconds, 3),
            "joined": self.joined,
            "retried": self.retried,
            "worker_hours": {device: round(seconds / 3600, 6) for device, seconds in self.work.items()},
            "left_out": self.left_out,
            "head": self.head,
            "locality": None if self.locality is None else self.locality.to_json(),
        }


class RunCounts:
    """Counts what a run does while it does it.

    progress: pictures done and failed, of those that the run was given

    Args:
        run: the run's name, by which it recognises its own commit records.
        done: pictures that were done before this run.
        total: pictures that the run was given.
    """

    def __init__(self, run: str, *, done: int, total: int) -> None:
        self.progress = Progress(done, total, 0)
        self._run = run
        self._given_up: list[tuple[range, str]] = []
        self._labelled = self._joined = self._retried = self._tried = 0
        self._work: defaultdict[str, float] = defaultdict(float)

    def add(self, outcome: ShardOutcome) -> None:
        """Count one shard, which is finished or given up."""
        rows, record = outcome.shard.rows, outcome.record
        if record is None:
            self._given_up.append((rows, hide_home(outcome.error)))
            return
        self._tried += len(rows)
        if record.run.get("run") == self._run:
            self._labelled += record.labelled
            self._retried += outcome.shard.attempt > 1
            self._work[str(record.run.get("device"))] += float(record.run.get("seconds", 0))
        else:
            self._joined += record.labelled
        before = self.progress
        self.progress = Progress(before.done + len(rows), before.total, before.failed + len(record.failures))

    def summary(
        self, store: LabelStore, numbers: Iterable[int], keys: Sequence[str], *, seconds: float, left_out: int
    ) -> Summary:
        """The summary of the run, once it has ended.

        Args:
            store: the store that the run labelled into; its commit records are read.
            numbers: shards that the run was given.
            keys: the key of each row.
            seconds: how long the run took.
            left_out: files that were skipped, because their names are not those of pictures.
        """
        failures: list[KeyedFailure] = []
        given_up, labelled = [*self._given_up], 0
        for number, found in store.records_of(numbers):
            if isinstance(found, DamageError):
                why = f"its commit record is damaged; `annotate verify {store.address} --repair` makes it pending"
                given_up.append((store.rows_of(number), hide_home(why)))
            if isinstance(found, UnreadableError):  # its labels may be good, so that no repair is recommended
                given_up.append((store.rows_of(number), hide_home(str(found))))
            if isinstance(found, Record):
                labelled += found.labelled
                failures += [KeyedFailure(keys[each.row], each.status.word, each.reason) for each in found.failures]
        return Summary(
            pictures=self.progress.total,
            labelled=labelled,
            failures=tuple(failures),
            given_up=tuple(given_up),
            labelled_now=self._labelled,
            tried=self._tried,
            seconds=seconds,
            joined=self._joined,
            retried=self._retried,
            work=dict(self._work),
            left_out=left_out,
            head=str(store.schema.provenance.get("head", UNKNOWN)),
            locality=Locality.recorded(store.schema.provenance),
        )


def _about_heads(head: str) -> list[str]:
    """A sentence for each network whose dense head is not exact, or not known to be."""
    heads = head.split(", ")
    remarks = [_about_head(*each.partition(" by ")[::2]) for each in heads]
    many = len(heads) > 1
    return [
        f"network {number} of {len(heads)}: {remark}" if many else remark
        for number, remark in enumerate(remarks, 1)
        if remark
    ]


def _about_head(how: str, rule: str) -> str:
    """What to say of a head: how far its mean is from the network's own answer, and what it classifies if not that."""
    said = _REMARKS.get(how, f"the dense head is {how}: its mean differs that much from the network's own answer")
    if not rule:
        return said
    local = f"each location says what the network's {rule} gets from it"  # the locality says whether it is of it
    return f"{said}; {local}" if said else local


def _hours(device: str, seconds: float) -> str:
    return f"{seconds / 3600:,.4f} {'core' if device == 'cpu' else 'GPU'}-hours" + (
        "" if device == "cpu" else f" on {device}"
    )
