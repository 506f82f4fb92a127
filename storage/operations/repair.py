"""What can be repaired in a store, and how? Only what is certainly damaged, and nothing is deleted."""

from __future__ import annotations

from contextlib import suppress

from storage.backend import SET_ASIDE
from storage.backends import open_store
from storage.errors import DamageError, MismatchError, UnreadableError
from storage.operations.integrity import Verification, verify_shard, verify_shared
from storage.operations.manifest import MANIFEST
from storage.store import LabelStore


def repair_steps(found: Verification) -> list[str]:
    """One sentence for each step that `repair` would take, in order; none if nothing is damaged.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store, verify
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     repair_steps(verify(create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"])))
        []
    """
    steps = [
        f"rows {report.rows.start} to {report.rows.stop} become pending; what they hold now is moved to {SET_ASIDE}"
        for report in found.shards.read.values()
        if report.state == "damaged"
    ]
    if found.shared:
        steps.append("metadata and key index are rewritten from the header and the keys")
    if steps:
        steps.append(f"{MANIFEST}, if there is one, is moved to {SET_ASIDE}: the store is no longer the published one")
    return steps


def repair(store: LabelStore, found: Verification) -> list[str]:
    """Make damaged shards pending again, and rewrite what can be computed from header and keys.

    The contents of damaged shards are not deleted but moved to a folder of the store that no reader opens. Each shard
    is verified once more before: it may have been unavailable for a moment only, or have been rewritten since.

    Args:
        store: the store, opened with `writable=True`.
        found: what `verify` found in it.

    Returns:
        One sentence for each problem that cannot be repaired.

    Raises:
        UnreadableError: something cannot be read. Then nothing was changed.
        DamageError: the header is damaged, so that nothing says what the labels are. Then nothing was changed.
        MismatchError: another store is at the address now.
        StoreError: the store was opened for reading.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store, verify
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg", "dog/2.jpg"])
        ...     repair(store, verify(store))
        []
    """
    store.backend.check_writable()
    again = {
        shard: verify_shard(store, shard, deep=True)
        for shard, report in found.shards.read.items()
        if report.state == "damaged"
    }
    unreadable = [
        *found.unreadable,
        *(line for report in found.shards.read.values() if report.state == "unreadable" for line in report.problems),
    ]
    unreadable += [line for report in again.values() if report.state == "unreadable" for line in report.problems]
    if unreadable:
        raise UnreadableError(
            f"nothing was repaired in {store.address}: {len(unreadable):,} files or objects cannot be read, and may be "
            f"undamaged. Make them readable, then verify again. The first: {unreadable[0]}"
        )
    if open_store(store.address).header != store.header:  # for example, another file system is mounted there now
        raise MismatchError(store.address, ["header: it differs from that of the store that was verified"])
    damaged = [shard for shard, report in again.items() if report.state == "damaged"]
    for shard in damaged:
        store.backend.forget(shard)
    if found.shared:
        with suppress(DamageError):  # damaged keys: without them nothing can be rebuilt; they are reported below
            store.backend.rebuild()
    if damaged or found.shared:
        store.backend.set_aside(MANIFEST)
    left, unreadable = verify_shared(store)
    return [*left, *unreadable]
