"""What is one task of a job? The rows of a shard; its labels are written once, with a record of who, when and how."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage import DamageError, LabelMap, LabelStore, Record


@dataclass(frozen=True, slots=True)
class Shard:
    """One task: the rows of a shard, what the source's reader reads each by, and which attempt this is."""

    rows: range
    handles: Sequence[Any]
    attempt: int = 1


def finish(
    store: LabelStore,
    shard: Shard,
    make: Callable[[Shard], tuple[LabelMap, Mapping[int, str]]],
    *,
    run: str,
    about: Mapping[str, Any],
) -> Record:
    """The commit record of a shard: that which is there, or of the labels that are made and written now.

    A worker that dies after its record was written, but before it could say so, and a second run on the same store,
    leave shards that nobody has to make again.

    Args:
        store: open for writing.
        shard: a shard of it.
        make: gives its labels, and the reason for each row that has none.
        run: the name of the run, by which it knows its own records.
        about: what else the record says of how the labels were made.
    """
    if (there := _record(store, shard)) is not None:
        return there
    started = time.monotonic()
    labels, reasons = make(shard)
    if (there := _record(store, shard)) is not None:  # another was quicker, perhaps with another last bit
        return there
    said = {
        "run": run,
        "attempt": shard.attempt,
        "seconds": round(time.monotonic() - started, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "worker": f"{platform.node()}:{os.getpid()}",
        **about,
    }
    return store.write(shard.rows, labels, reasons=reasons, run=said)


def _record(store: LabelStore, shard: Shard) -> Record | None:
    try:
        return store.record(shard.rows.start // store.schema.rows_per_shard)
    except DamageError:  # it is made anew
        return None
