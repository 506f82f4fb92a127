"""Can the turns of shards wait for each other forever, and how many pictures are in memory, whatever goes wrong?"""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from annotate.errors import PictureError, SourceGoneError
from annotate.jobs.labelling import label_job
from annotate.jobs.labelling.pipeline import Made, Pipeline
from annotate.jobs.labelling.shard import AbandonedError, Shard
from annotate.jobs.workers import AT_ONCE, LocalWorkers
from annotate.model.annotator import Annotator, Prepared
from annotate.model.recipe import Recipe
from storage import Record, Status
from tests.annotate.jobs.labelling.test_pipeline import Device, Reader, shard, wait_until


class Counting(Device):
    """A device that counts the pictures that are alive; it refuses a batch with one of `refused`."""

    def __init__(self, refused: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.refused = refused
        self._count, self.alive, self.most = threading.Lock(), 0, 0

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        found = super().prepare(picture.copy())
        weakref.finalize(found.inputs[0][0], self._gone)
        with self._count:
            self.alive += 1
            self.most = max(self.most, self.alive)
        return found

    def _gone(self) -> None:
        with self._count:
            self.alive -= 1

    def start(self, prepared: Sequence[Prepared]) -> Callable[..., object]:
        if self.refused & {int(one.inputs[0][0][0, 0, 0]) for one in prepared}:
            raise RuntimeError("out of memory")
        return super().start(prepared)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield pool


def test_small_shards_are_decoded_while_an_earlier_one_waits_for_the_device(threads: ThreadPoolExecutor) -> None:
    device = Device()
    device.answered.clear()
    one = Pipeline(device, Reader({}), batch_size=4, decoders=2)
    made = [threads.submit(one.label, shard(0, 12))]
    wait_until(lambda: len(device.sent) == 2)
    made += [threads.submit(one.label, shard(start, 2)) for start in (12, 14, 16)]
    try:
        wait_until(lambda: device.prepared == 18)
        assert len(device.sent) == 2  # and they wait for their turn
    finally:
        device.answered.set()
    assert [len(each.result(30).labels) for each in made] == [12, 2, 2, 2]


def test_the_shard_after_a_large_one_is_sent_before_its_last_batch_is_answered(threads: ThreadPoolExecutor) -> None:
    """A large one is more than what may wait, so that its pictures are not all decoded when its turn to send begins."""

    class Slow(Device):
        def start(self, prepared: Sequence[Prepared]) -> Callable[..., object]:
            wait, first = super().start(prepared), len(self.sent) < 5
            return lambda: wait() if first or last.wait(30) else None

    device, last = Slow(), threading.Event()
    one = Pipeline(device, Reader({}), batch_size=4, decoders=2)
    made = [threads.submit(one.label, shard(0, 20))]
    wait_until(lambda: len(device.sent) == 5)
    made.append(threads.submit(one.label, shard(20, 4)))
    try:
        wait_until(lambda: len(device.sent) == 6)
    finally:
        last.set()
    assert [len(each.result(30).labels) for each in made] == [20, 4]


@pytest.mark.parametrize(("batch_size", "decoders"), [(1, 1), (4, 1), (4, 3), (64, 2)])
def test_no_mixture_of_sizes_and_failures_stops_the_others_or_is_kept_in_memory(
    threads: ThreadPoolExecutor, batch_size: int, decoders: int, request: pytest.FixtureRequest
) -> None:
    """Shards smaller than a batch, larger than all that may wait, of nothing but failures; and each kind of failure."""
    rng, shards, start = random.Random(batch_size * decoders), list[Shard](), 0
    bad, ends, refused = dict[int, Callable[[], Exception]](), dict[int, type[Exception]](), set[int]()
    for _ in range(150):
        one = shard(start, rng.choice((1, 2, 3, 4, 5, 13, 17, 40)))
        kind = rng.choice(("good", "good", "unreadable", "some", "gone", "refused", "abandoned"))
        some = rng.choice(one.rows)
        if kind in ("unreadable", "some"):
            rows = one.rows if kind == "unreadable" else [some]
            bad |= dict.fromkeys(rows, lambda: PictureError(Status.UNDECODABLE, "not a picture"))
        if kind == "gone":
            bad[some], ends[start] = lambda: SourceGoneError("gone"), SourceGoneError
        if kind == "refused":
            refused.add(some)
            ends[start] = RuntimeError
        if kind == "abandoned":
            one = replace(one, abandoned=threading.Event())
            one.abandoned.set()
            ends[start] = AbandonedError
        shards.append(one)
        start = one.rows.stop
    device = Wide(frozenset(refused))
    pipeline = Pipeline(device, Numbers(bad), batch_size=batch_size, decoders=decoders)

    def label(one: Shard) -> Made | type[Exception]:
        try:
            return pipeline.label(one)
        except Exception as error:
            return type(error)

    request.addfinalizer(gc.enable)
    gc.disable()  # it comes when many objects are made, however large they are
    made = [threads.submit(label, one) for one in shards]
    for one, each in zip(shards, made, strict=True):
        found = each.result(60)
        if one.rows.start in ends:
            assert found is ends[one.rows.start]
            continue
        assert found.reasons == {row: "not a picture" for row in one.rows if row in bad}
        labelled = [row for row in one.rows if row not in bad]
        assert found.labels.classes[found.labels.status == Status.LABELLED].ravel().tolist() == labelled
    # Three batches that wait and a picture a decoder; what a decoder has when its shard fails; a batch on its way.
    assert device.most <= 3 * batch_size + 2 * decoders + batch_size
    pipeline._decoders.shutdown()
    assert device.alive == 0


def test_a_failure_that_is_kept_keeps_no_picture_that_waited() -> None:
    device = Counting()
    one = Pipeline(device, Reader({0: SourceGoneError("gone")}), batch_size=4, decoders=2)
    with pytest.raises(SourceGoneError) as kept:
        one.label(shard(0, 40))
    one._decoders.shutdown()
    gc.collect()
    assert device.alive == 0
    assert kept.tb is not None


class Wide(Counting):
    """The number of a picture is in two of its bytes: there are more than 256."""

    class_count = 60_000

    def start(self, prepared: Sequence[Prepared]) -> Callable[..., object]:
        numbers = [int.from_bytes(one.inputs[0][0][0, 0].tobytes()[:2], "big") for one in prepared]
        if self.refused & {*numbers}:
            raise RuntimeError("out of memory")
        answer = Device.start(self, prepared)()
        return lambda: replace(answer, classes=np.array(numbers, np.uint16).reshape(-1, 1, 1, 1))


@dataclass
class Numbers(Reader):
    """A picture that has its handle in its bytes. Each error is new: an old one would keep where it was raised."""

    bad: dict[int, Callable[[], Exception]]

    def read(self, handle: int) -> NDArray[np.uint8]:
        if handle in self.bad:
            raise self.bad[handle]()
        return np.frombuffer(handle.to_bytes(2, "big") + b"\0", np.uint8).reshape(1, 1, 3)


def test_shards_that_are_written_slowly_bound_how_many_are_begun(tmp_path: Path) -> None:
    device, write = Counting(), threading.Event()
    one, taken, labelled = Pipeline(device, Reader({}), batch_size=4, decoders=2), list[int](), list[int]()

    def coming() -> Iterator[Shard]:
        for start in range(0, 20 * AT_ONCE, 4):
            taken.append(start)
            yield shard(start, 4)

    class Job:
        def start(self) -> Callable[[Shard], Record]:
            def do(one_shard: Shard) -> Record:
                one.label(one_shard)
                labelled.append(one_shard.rows.start)
                assert write.wait(30)
                return Record(start=one_shard.rows.start, stop=one_shard.rows.stop, labelled=4)

            return do

    with ThreadPoolExecutor(1) as driver:
        outcomes = driver.submit(lambda: [*LocalWorkers().map(Job(), coming())])
        try:
            wait_until(lambda: len(labelled) == AT_ONCE)
            assert len(taken) == AT_ONCE  # no other is begun before one is written
            gc.collect()
            assert device.alive == 0  # pictures are gone: only labels wait
        finally:
            write.set()
        assert len(outcomes.result(60)) == 5 * AT_ONCE


def test_what_waits_for_a_batchs_labels_keeps_none_of_its_pixels(recipe: Recipe) -> None:
    annotator = Annotator(recipe, k=2)
    prepared = [annotator.prepare(np.zeros((9, 9, 3), np.uint8)) for _ in range(2)]
    alive = [weakref.ref(one.inputs[0][0]) for one in prepared]
    wait = annotator.start(prepared)
    del prepared
    gc.collect()
    assert [ref() for ref in alive] == [None, None]
    assert wait().sizes.tolist() == [[9, 9], [9, 9]]


@pytest.mark.parametrize(
    ("device", "cores", "gpus", "expected"),
    [("cpu", 64, 0, 1), ("cuda", 8, 1, 8), ("cuda", 64, 1, 16), ("cuda", 64, 8, 8), ("cuda", 3, 8, 1)],
)
def test_a_gpu_has_its_share_of_the_cores_as_decoders(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, gpus: int, expected: int
) -> None:
    monkeypatch.setattr(label_job, "usable_cores", lambda: cores)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)  # Ray hides the others
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [folder] * gpus)
    assert label_job.decoders(device) == expected
