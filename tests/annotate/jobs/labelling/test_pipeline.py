"""Do shards overlap, in order, within bounds, and each with its own failures?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from annotate.cluster.ray_workers import RayWorkers
from annotate.errors import PictureError, SourceGoneError
from annotate.jobs.labelling.label_job import one_thread
from annotate.jobs.labelling.pipeline import Pipeline
from annotate.jobs.labelling.shard import AbandonedError, Shard
from annotate.jobs.workers import LocalWorkers
from annotate.model.annotator import Prepared
from annotate.model.compilation import compiled
from storage import Box, LabelMap, Record, Status

BATCH = 4


class Device:
    """Answers with the value of each picture's first pixel as its class. `sent` has the classes of each batch."""

    grid, k, class_count = (1, 1), 1, 1000

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.started, self.answered = threading.Semaphore(0), threading.Event()
        self.answered.set()
        self.prepared = 0

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        self.prepared += 1
        return Prepared(picture.shape[:2], ((picture, Box.whole()),))

    def start(self, prepared: Sequence[Prepared]) -> Callable[[], LabelMap]:
        numbers = [int(one.inputs[0][0][0, 0, 0]) for one in prepared]
        self.sent.append(numbers)
        self.started.release()

        def wait() -> LabelMap:
            assert self.answered.wait(30)
            n = len(numbers)
            return LabelMap(
                classes=np.array(numbers, np.uint16).reshape(n, 1, 1, 1),
                scores=np.ones((n, 1, 1, 1), np.float32),
                boxes=np.tile(np.float32([0, 0, 1, 1]), (n, 1)),
                sizes=np.ones((n, 2), np.uint32),
                status=np.full(n, Status.LABELLED, np.uint8),
            )

        return wait


@dataclass
class Reader:
    """A picture whose value is its handle; `bad` handles raise."""

    bad: dict[int, Exception]
    root = Path("/")

    def read(self, handle: int) -> NDArray[np.uint8]:
        if handle in self.bad:
            raise self.bad[handle]
        return np.full((1, 1, 3), handle, np.uint8)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def pipeline(device: Device, **bad: Exception) -> Pipeline:
    return Pipeline(device, Reader({int(n[1:]): error for n, error in bad.items()}), batch_size=BATCH, decoders=2)


def shard(start: int, count: int, **more: object) -> Shard:
    return Shard(range(start, start + count), range(start, start + count), **more)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_batches_of_the_next_shard_are_sent_before_the_last_of_this_one_is_answered(
    device: Device, threads: ThreadPoolExecutor
) -> None:
    device.answered.clear()
    labels = pipeline(device).label
    first = threads.submit(labels, shard(0, 4))
    assert device.started.acquire(timeout=30)
    second = threads.submit(labels, shard(4, 4))
    assert device.started.acquire(timeout=30)
    assert not first.done()
    device.answered.set()
    for made, start in ((first, 0), (second, 4)):
        assert made.result().labels.classes.ravel().tolist() == [*range(start, start + 4)]


def test_shards_are_sent_one_after_the_other_and_no_batch_has_pictures_of_two(
    device: Device, threads: ThreadPoolExecutor
) -> None:
    one = pipeline(device)
    made = [threads.submit(one.label, shard(start, 10)) for start in (0, 10, 20, 30)]
    for start, each in zip((0, 10, 20, 30), made, strict=True):
        assert each.result().labels.classes.ravel().tolist() == [*range(start, start + 10)]
    order = [numbers[0] // 10 * 10 for numbers in device.sent[::3]]
    assert sorted(order) == [0, 10, 20, 30]
    assert device.sent == [
        [*range(start + at, min(start + at + BATCH, start + 10))] for start in order for at in (0, 4, 8)
    ]


def test_pictures_that_wait_are_bounded_for_all_shards_together(device: Device, threads: ThreadPoolExecutor) -> None:
    """The device holds two batches; three more wait, and a picture for each decoder, whichever shard they are of."""
    device.answered.clear()
    one = pipeline(device)
    made = [threads.submit(one.label, shard(start, 40)) for start in (0, 40, 80)]
    most = 2 * BATCH + 3 * BATCH + 2
    wait_until(lambda: device.prepared == most)
    time.sleep(0.1)  # more would come now
    assert device.prepared == most
    device.answered.set()
    assert all(len(each.result().labels) == 40 for each in made)
    assert device.prepared == 120


def test_a_shard_that_fails_leaves_the_others_their_room_and_their_turn(
    device: Device, threads: ThreadPoolExecutor
) -> None:
    one = pipeline(device, n3=SourceGoneError("gone"), n27=PictureError(Status.MISSING, "the file is gone"))
    for _ in range(20):  # what a failure keeps would be missing soon
        made = [threads.submit(one.label, shard(start, 20)) for start in (0, 20, 40)]
        with pytest.raises(SourceGoneError, match="gone"):
            made[0].result(timeout=30)
        assert made[1].result(timeout=30).reasons == {27: "the file is gone"}
        assert made[2].result(timeout=30).labels.classes.ravel().tolist() == [*range(40, 60)]


def test_a_shard_of_nothing_but_failures_is_a_shard(device: Device) -> None:
    bad = {f"n{n}": PictureError(Status.UNDECODABLE, "not a picture") for n in range(30)}
    made = pipeline(device, **bad).label(shard(0, 30))
    assert set(made.reasons) == {*range(30)}
    assert (made.labels.status == Status.UNDECODABLE).all()


def test_a_shard_that_nobody_waits_for_is_left(device: Device) -> None:
    abandoned = threading.Event()
    abandoned.set()
    one = pipeline(device)
    with pytest.raises(AbandonedError, match="rows 0 to 8 were abandoned"):
        one.label(shard(0, 8, abandoned=abandoned))
    assert one.label(shard(8, 8)).labels.classes.ravel().tolist() == [*range(8, 16)]


def test_the_seconds_of_shards_that_overlap_are_not_counted_twice(device: Device, threads: ThreadPoolExecutor) -> None:
    one, began = pipeline(device), time.monotonic()
    made = [threads.submit(one.label, shard(start, 10)) for start in range(0, 200, 10)]
    seconds = [each.result().seconds for each in made]
    assert all(each >= 0 for each in seconds)
    assert sum(seconds) <= time.monotonic() - began


@dataclass(frozen=True)
class Together:
    """A job whose shards end only when two of them are at work in one process; with `dies`, its process dies then."""

    marks: Path
    dies: tuple[int, ...] = ()

    def start(self) -> Callable[[Shard], Record]:
        import os
        import signal

        at_work: set[int] = set()

        def do(one: Shard) -> Record:
            at_work.add(one.rows.start)
            with open(self.marks / f"{one.rows.start}", "a") as file:
                file.write(f"{one.attempt}\n")
            if one.rows.start in self.dies:
                wait_until(lambda: len(at_work) > 1 or (self.marks / f"{one.rows.start}").stat().st_size > 2)
                os.kill(os.getpid(), signal.SIGKILL)
            if not self.dies:
                wait_until(lambda: len(at_work) > 1)
            elif one.rows.start == 1 and one.attempt == 1 and (self.marks / "1").stat().st_size == 2:
                time.sleep(60)  # until its neighbour kills it
            return Record(start=one.rows.start, stop=one.rows.stop, labelled=1)

        return do


@pytest.mark.usefixtures("one_ray")
@pytest.mark.parametrize("workers", [LocalWorkers(), RayWorkers(1)], ids=["local", "ray"])
def test_a_worker_begins_a_shard_before_the_last_has_ended(workers: LocalWorkers | RayWorkers, tmp_path: Path) -> None:
    outcomes = [*workers.map(Together(tmp_path), [shard(n, 1) for n in range(3)])]
    assert all(outcome.record for outcome in outcomes), outcomes


@pytest.mark.usefixtures("one_ray")
def test_a_shard_that_was_in_a_worker_beside_a_deadly_one_is_not_blamed(tmp_path: Path) -> None:
    """Both are tried again alone, and the death that they shared is nobody's attempt."""
    shards = [shard(n, 1) for n in range(4)]
    outcomes = {one.shard.rows.start: one for one in RayWorkers(1).map(Together(tmp_path, dies=(0,)), shards)}
    assert outcomes[0].error == "the worker died"
    assert all(outcomes[n].record for n in (1, 2, 3))
    assert outcomes[1].shard.attempt == 1
    assert (tmp_path / "0").read_text().split() == ["1", "1", "2", "3"]


def test_a_local_run_that_is_left_stops_its_shards(device: Device) -> None:
    one = pipeline(device)

    @dataclass(frozen=True)
    class Job:
        def start(self) -> Callable[[Shard], Record]:
            def do(one_shard: Shard) -> Record:
                one.label(one_shard)
                return Record(start=one_shard.rows.start, stop=one_shard.rows.stop, labelled=len(one_shard.rows))

            return do

    many = range(4, 40_004)
    outcomes = LocalWorkers().map(Job(), [shard(0, 4), Shard(many, [1] * len(many))])
    next(outcomes)
    outcomes.close()
    assert len(device.sent) < len(many) / BATCH


def test_one_thread_lasts_until_the_last_that_asked_for_it_has_left() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        inside, leave = threading.Event(), threading.Event()

        def other() -> None:
            with one_thread():
                inside.set()
                leave.wait(30)

        thread = threading.Thread(target=other)
        with one_thread():
            thread.start()
            assert inside.wait(30)
        assert torch.get_num_threads() == 1, "the other thread still needs it"
        leave.set()
        thread.join()
    finally:
        torch.set_num_threads(before)


def test_weights_are_constants_of_a_compiled_network_in_whichever_thread_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch's settings belong to the thread that makes them."""
    import torch
    import torch._inductor.config as inductor

    found: list[bool] = []

    class Noting(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found.append(inductor.freezing)
            return pixels

    monkeypatch.setattr(torch, "compile", lambda module, dynamic: module)
    network = compiled(Noting())
    thread = threading.Thread(target=network, args=(torch.ones(1),))
    thread.start()
    thread.join()
    assert found == [True]
