"""What does the store of an undisturbed run hold, and is this store as complete?"""

from __future__ import annotations

from pathlib import Path

from annotate.jobs.workers import LocalWorkers
from storage import LabelStore, open_store, verify
from tests.conftest import contents
from tests.faults.jobs import PaintedJob, painted_store


def undisturbed(tmp_path: Path, shards: int) -> dict[str, object]:
    """The contents of the store of an undisturbed run."""
    address = str(tmp_path / "undisturbed.zarr")
    assert all(outcome.record for outcome in LocalWorkers().map(PaintedJob(address), painted_store(address, shards)))
    return contents(Path(address))


def whole(address: str | Path) -> LabelStore:
    """The store, after a check that every row was written once, and that no unfinished file is left."""
    store = open_store(address, writable=True)
    assert store.pending() == []
    assert verify(store, deep=True).state == "ok"
    store.backend.remove_leftovers()
    if "://" not in str(address):
        assert not list(Path(address).rglob("*.partial"))
    return store
