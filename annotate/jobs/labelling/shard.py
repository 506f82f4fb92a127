"""What is one task of a job? One shard: its rows are labelled, then committed with a record of who, when and how."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import Any

from annotate.errors import AnnotateError
from annotate.jobs.labelling.store_there import when_there
from storage import DamageError, LabelMap, LabelStore, Record


class AbandonedError(Exception):
    """Nobody waits for a shard any more."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One task of a job.

    rows:      the shard's rows
    handles:   what the source's reader needs to read each row's picture
    attempt:   1 for the first
    abandoned: set when the shard is no longer wanted; None where another process labels it, which is ended instead
    instead_of: the commit record that a new one is to replace, because pictures that failed can be read now
    """

    rows: range
    handles: Sequence[Any] = field(repr=False)
    attempt: int = 1
    abandoned: Event | None = field(default=None, repr=False, compare=False)
    instead_of: Record | None = field(default=None, repr=False)


def commit_shard(
    store: LabelStore,
    shard: Shard,
    make: Callable[[Shard], tuple[LabelMap, Mapping[int, str]]],
    *,
    run: str,
    about: Mapping[str, Any],
) -> Record:
    """Label a shard and write it, unless it is committed already; returns its commit record.

    A shard may be committed already: by another run on the same store, or by a worker that died after it had written
    the record and before it could report it.

    Args:
        store: open for writing.
        shard: one of its shards.
        make: makes the labels, and the reason for each row without one.
        run: the name of the run, by which it recognises its own records.
        about: further fields of the record on how the labels were made.

    Raises:
        AnnotateError: the record that is to be replaced has labels of rows for which none could be made now.
    """
    if (committed := _record(store, shard)) is not None:
        return committed
    started = time.monotonic()
    labels, reasons = make(shard)
    _refuse_fewer(shard, reasons)
    if (committed := _record(store, shard)) is not None:  # another worker was faster, and its last bits may differ
        return committed
    origin = {
        "run": run,
        "attempt": shard.attempt,
        "seconds": round(time.monotonic() - started, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "worker": f"{platform.node()}:{os.getpid()}",
        **about,
    }

    def write() -> Record:
        return store.write(shard.rows, labels, reasons=reasons, run=origin)

    return when_there(store, write, abandoned=shard.abandoned)


def _refuse_fewer(shard: Shard, reasons: Mapping[int, str]) -> None:
    """Check that every row that had a label has one again.

    Raises:
        AnnotateError: some have none; what is stored stays.
    """
    if shard.instead_of is None:
        return
    lost = sorted(reasons.keys() - {failure.row for failure in shard.instead_of.failures})
    if lost:
        raise AnnotateError(
            f"{len(lost)} of its pictures have labels, and none could be made now, first for row {lost[0]}: "
            f"{reasons[lost[0]].rstrip('.')}. Its labels stay as they are; when these pictures can be read again, run "
            "the same command with --retry-failed"
        )


def _record(store: LabelStore, shard: Shard) -> Record | None:
    try:
        number = shard.rows.start // store.schema.rows_per_shard
        found = when_there(store, lambda: store.record(number), abandoned=shard.abandoned)
        return None if found == shard.instead_of else found
    except DamageError:  # the shard is labelled again
        return None
