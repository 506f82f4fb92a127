"""May other processes read and write a store, and die while they do?"""

from __future__ import annotations

import os
import pickle
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from itertools import count
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import Any

import pytest

from storage import (
    LabelMap,
    LabelStore,
    StoreError,
    open_store,
    verify,
)
from tests.storage.contract.fixtures import StoreFixtures
from tests.storage.contract.samples import SHARDS


class Processes(StoreFixtures):
    """Processes share a store, are killed, and fill the disk."""

    def test_a_store_travels_by_its_address(self, full: LabelStore) -> None:
        full.read([0])
        payload = pickle.dumps(full)
        assert len(payload) < 500
        assert (pickle.loads(payload).read([3]).classes == full.read([3]).classes).all()

    @pytest.mark.parametrize(("method", "workers"), [("fork", 8), ("spawn", 2)])
    def test_it_can_be_read_in_child_processes(self, full: LabelStore, method: str, workers: int) -> None:
        expected = full.read([9]).classes.tolist()
        context = get_context(method)
        answers: Queue[object] = context.Queue()
        children = [context.Process(target=_read_last, args=(full, answers)) for _ in range(workers)]
        for child in children:
            child.start()
        found = [answers.get(timeout=60) for _ in children]
        for child in children:
            child.join()
        if method == "fork" and not self.survives_a_fork:
            assert all('start workers with "spawn"' in str(answer) for answer in found)
        else:
            assert all(answer == expected for answer in found)

    def test_different_shards_can_be_written_at_once(self, store: LabelStore, labels: LabelMap) -> None:
        with get_context("spawn").Pool(3) as pool:
            pool.starmap(_write, [(store, rows, labels[rows.start : rows.stop]) for rows in SHARDS])
        assert [report.state for report in verify(store).shards] == ["ok"] * 3

    def test_a_writer_killed_in_the_middle_of_a_shard_harms_nothing(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        store.write(SHARDS[0], labels[0:4])
        victim = get_context("spawn").Process(target=_die_writing, args=(store, SHARDS[1], labels[4:8], *self.dies_in))
        victim.start()
        victim.join(timeout=60)
        assert victim.exitcode == -signal.SIGKILL
        assert open_store(address).pending() == SHARDS[1:]
        assert [report.state for report in verify(open_store(address)).shards] == ["ok", "pending", "pending"]
        store.write(SHARDS[1], labels[4:8])
        undisturbed = open_store(address).read(SHARDS[1])
        assert (undisturbed.sizes == labels[4:8].sizes).all()
        assert list(store.backend.object_names()) == list(dict.fromkeys(store.backend.object_names()))
        assert verify(store).state == "pending"

    def test_a_disk_that_fills_up_in_the_middle_of_a_shard_loses_nothing(
        self,
        store: LabelStore,
        labels: LabelMap,
        address: str,
        full_disk: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        store.write(SHARDS[0], labels[0:4])
        for room in (0, 1, 2, 3):
            with full_disk(room), pytest.raises(StoreError, match="cannot write"):
                store.write(SHARDS[1], labels[4:8])
            assert open_store(address).pending() == SHARDS[1:], room
        store.write(SHARDS[1], labels[4:8])
        assert [report.state for report in verify(open_store(address)).shards] == ["ok", "ok", "pending"]

    @pytest.fixture
    def full_disk(self) -> Callable[[int], AbstractContextManager[None]]:
        """The system itself refuses to let a file grow: beyond so many times 60 bytes."""

        @contextmanager
        def limit(room: int) -> Iterator[None]:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (60 * room, hard))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        return limit


def _die_writing(store: LabelStore, rows: range, labels: LabelMap, where: str, nth: int) -> None:
    """Write a shard, and be killed in the n-th call of a function on the way."""
    module, _, path = where.partition(":")
    owner: Any = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, deadly)
    store.write(rows, labels)


def _read_last(store: LabelStore, answers: Queue[object]) -> None:
    try:
        answers.put(store.read([9]).classes.tolist())
    except StoreError as error:
        answers.put(str(error))


def _write(store: LabelStore, rows: range, labels: LabelMap) -> None:
    store.write(rows, labels)
