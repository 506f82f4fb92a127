"""What did a run do? What it labelled, what has no label and why, and what the whole collection has now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annotate.text import duration, printable
from storage import KeyedFailure


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
    head:         "exact", or how far the dense head is from the network's own answer
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
        else:
            some = self.tried or self.given_up
            lines = ["nothing could be labelled" if some else "there was nothing left to label"]
        if self.joined:
            lines.append(f"another run labelled {self.joined:,} more meanwhile")
        if self.retried:
            lines.append(f"{self.retried:,} shards were finished in a second or third attempt")
        if self.head != "exact":
            lines.append(f"the dense head is {self.head}: its mean differs that much from the network's own answer")
        lines.append(f"{self.labelled:,} of {self.pictures:,} pictures are labelled")
        if self.left_out:
            lines.append(f"{self.left_out:,} other files were skipped (not picture names)")
        if self.failures:
            lines.append(f"{len(self.failures):,} pictures could not be labelled:")
            lines += [f"  {printable(key)}: {word}, {printable(why)}" for key, word, why in self.failures[:shown]]
        if len(self.failures) > shown:
            lines.append(f"  … and {len(self.failures) - shown:,} more")
        if self.failures:
            lines.append("once they are mended, the same command with --retry-failed labels them")
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
        }


def _hours(device: str, seconds: float) -> str:
    return f"{seconds / 3600:,.4f} {'core' if device == 'cpu' else 'GPU'}-hours" + (
        "" if device == "cpu" else f" on {device}"
    )
