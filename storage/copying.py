"""How does a store move to another backend? Shard by shard, as it rests, so that not a bit changes."""

from __future__ import annotations

from collections.abc import Callable

from storage.backends import create_store
from storage.store import LabelStore


def copy(
    source: LabelStore, address: str, *, report: Callable[[range], None] = lambda rows: None
) -> tuple[LabelStore, list[range]]:
    """Copy what a store has into another at this address, of whatever backend; go on where an earlier copy ended.

    Args:
        source: the store.
        address: of a new store, or of an unfinished copy.
        report: called with the rows of each shard that is done.

    Returns:
        The copy, and the rows that are pending in both.

    Raises:
        MismatchError: another store is at the address.
        DamageError: the source is damaged; what was copied before stays.
    """
    target = create_store(address, source.schema, source.keys, source.targets.tolist())
    there = target.committed()
    for shard, rows in enumerate(source.shards()):
        record = source.record(shard)
        if record is not None and shard not in there:
            places = [(shard, place) for place in range(len(rows))]
            target.put(shard, source.fetch(places), failures=record.failures, run=record.run)
        if record is not None:
            report(rows)
    return target, target.pending()
