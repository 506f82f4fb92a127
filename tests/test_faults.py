"""Does a job lose nothing, whatever fails? Faults on real processes; `make faults` has all of them, this a slice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from annotate.images import FolderImages
from annotate.ray_workers import RayWorkers
from annotate.recipe import Recipe
from annotate.run import run
from annotate.shard import Shard
from annotate.workers import ATTEMPTS, Job, LocalWorkers, Outcome, Workers
from storage import LabelStore, open_store, verify
from tests import s3
from tests.conftest import MODEL_KWARGS, contents
from tests.faults import PHASES, Dying, DyingAt, PaintedJob, Refused, painted_store

ALL = os.environ.get("FAULTS") == "all"
KILLS = 220 if ALL else 12
AWAY = 10.0 if ALL else 3.0  # seconds that the pictures are gone


def undisturbed(tmp_path: Path, shards: int) -> dict[str, object]:
    """What a store holds that nothing has happened to."""
    address = str(tmp_path / "undisturbed.zarr")
    assert all(outcome.record for outcome in LocalWorkers().map(PaintedJob(address), painted_store(address, shards)))
    return contents(Path(address))


def whole(address: str | Path) -> LabelStore:
    """The store, of which every row is accounted for once, and nothing is left half written."""
    store = open_store(address, writable=True)
    assert store.pending() == []
    assert verify(store, deep=True).state == "ok"
    store.tidy()
    if "://" not in str(address):
        assert not list(Path(address).rglob("*.partial"))
    return store


@dataclass(frozen=True)
class With:
    """Workers that do a job after something was done to it."""

    workers: Workers
    change: Callable[[Job], Job]

    @property
    def count(self) -> int:
        return self.workers.count

    about = "with faults"

    def map(self, job: Job, shards: Iterator, **named: object) -> Iterator[Outcome]:
        yield from self.workers.map(self.change(job), shards)


# ---- workers


def test_workers_are_killed_at_random_moments(tmp_path: Path) -> None:
    """Before, within and after the writing of a shard: each is finished by the next, or was finished already."""
    address, shards = str(tmp_path / "labels.zarr"), KILLS + 2
    tasks = painted_store(address, shards)
    job = Dying(PaintedJob(address), range(2, shards), seconds=0.03)
    outcomes = list(RayWorkers(2).map(job, tasks))
    assert len(outcomes) == shards
    assert all(outcome.record for outcome in outcomes)
    attempts = [whole(address).record(n).run["attempt"] for n in range(2, shards)]
    assert 0 < attempts.count(1) < len(attempts)  # some had their record, and were not made again
    assert contents(Path(address)) == undisturbed(tmp_path, shards)


def test_a_worker_is_killed_in_each_phase_of_a_shard(
    scene_folder: Path, recipe: Recipe, finished: Path, tmp_path: Path
) -> None:
    """With a real network, while it reads, computes and writes."""
    store = tmp_path / "labels.zarr"
    source = FolderImages(scene_folder / "images" / "val")
    phases = dict(zip(range(4, 30, 4), PHASES, strict=False))
    workers = With(RayWorkers(2), lambda job: DyingAt(job, phases))
    summary = run(source, str(store), recipe, workers, rows_per_shard=4)
    assert summary.complete
    made = {row: whole(store).record(row // 4).run["attempt"] for row in phases}
    assert made == {row: 1 if phase == "after the record" else 2 for row, phase in phases.items()}
    again = tmp_path / "again.zarr"
    run(source, str(again), recipe, LocalWorkers(), rows_per_shard=4)
    assert contents(store) == contents(again)


def test_shards_that_always_kill_their_worker_are_given_up_and_the_rest_is_finished(tmp_path: Path) -> None:
    """Even the first of all, and again when nothing but them is left."""
    address, poisoned = str(tmp_path / "labels.zarr"), [range(4), range(12, 16), range(16, 20)]
    job = Poisoned(PaintedJob(address), frozenset(rows.start for rows in poisoned))
    for tasks in (painted_store(address, 6), [Shard(rows, ()) for rows in poisoned]):
        outcomes = list(RayWorkers(2).map(job, tasks))
        lost = sorted((outcome for outcome in outcomes if outcome.record is None), key=lambda one: one.shard.rows.start)
        assert [one.shard.rows for one in lost] == poisoned
        assert {(one.shard.attempt, one.error) for one in lost} == {(ATTEMPTS, "the worker died")}
        assert open_store(address).pending() == poisoned


@dataclass(frozen=True)
class Poisoned:
    job: Job
    rows: frozenset[int]

    def start(self):
        do = self.job.start()
        return lambda shard: os.kill(os.getpid(), signal.SIGKILL) if shard.rows.start in self.rows else do(shard)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_do_not_depend_on_how_many_are_at_work(count: int, tmp_path: Path) -> None:
    address = str(tmp_path / "labels.zarr")
    assert all(outcome.record for outcome in RayWorkers(count).map(PaintedJob(address), painted_store(address, 9)))
    assert contents(Path(address)) == undisturbed(tmp_path, 9)


# ---- machines


@pytest.mark.filterwarnings("ignore")  # of Ray's own cluster of several nodes on one machine
def test_a_machine_is_lost_without_grace_and_another_comes(tmp_path: Path) -> None:
    """What it was at is no attempt of the shards; and the one that comes gets work."""
    import ray
    from ray.cluster_utils import Cluster

    address, shards = str(tmp_path / "labels.zarr"), 30
    tasks = painted_store(address, shards)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        outcomes = []
        for outcome in RayWorkers(address=cluster.address).map(PaintedJob(address, seconds=0.5), tasks):
            outcomes.append(outcome)
            if len(outcomes) == 4:
                cluster.remove_node(nodes[0], allow_graceful=False)
                cluster.add_node(num_cpus=1)
        assert all(outcome.record for outcome in outcomes)
    finally:
        ray.shutdown()
        cluster.shutdown()
    records = [whole(address).record(n).run for n in range(shards)]
    assert {record["attempt"] for record in records} == {1}
    assert len({record["node"] for record in records}) == 3
    assert contents(Path(address)) == undisturbed(tmp_path, shards)


# ---- the whole job, as the command runs it


@dataclass(frozen=True)
class Command:
    """`annotate run` on the train scenes, in processes of its own."""

    images: Path
    checkpoint: Path
    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "labels.zarr"

    @property
    def words(self) -> list[str]:
        words = [sys.executable, "-m", "cli", "run", self.images, self.store, "--model", "test_resnet"]
        words += [word for key, value in MODEL_KWARGS.items() for word in ("--model-kwarg", f"{key}={value}")]
        words += ["--checkpoint", self.checkpoint, "--input-size", "64", "--rows-per-shard", "2", "--workers", "2"]
        return [*map(str, words), "--batch-size", "2", "--no-compile"]

    def begin(self, *more: str) -> subprocess.Popen[str]:
        """Start it, and come back when some shards are done."""
        process = subprocess.Popen(
            [*self.words, *more], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while len(self.done()) < 3:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "the run made no progress"
            time.sleep(0.005)
        return process

    def done(self) -> set[str]:
        folder = self.store / "shards/record/c"
        return {name for name in os.listdir(folder) if name.isdecimal()} if folder.is_dir() else set()

    def settled(self) -> dict[str, bytes]:
        """The commit records, once those that outlived their driver by a moment have stopped writing."""
        found, since = self.done(), time.monotonic()
        while time.monotonic() - since < 3:
            time.sleep(0.1)
            if self.done() != found:
                found, since = self.done(), time.monotonic()
        return {name: (self.store / "shards/record/c" / name).read_bytes() for name in found}

    def go_on(self, finished: dict[str, bytes]) -> None:
        """The same command again: it does what is missing, and no shard that was finished."""
        again = subprocess.run([*self.words, "--json"], capture_output=True, text=True, timeout=180, check=True)
        assert json.loads(again.stdout)["labelled_now"] == 120 - 2 * len(finished)
        for name, record in finished.items():
            assert (self.store / "shards/record/c" / name).read_bytes() == record
        self.is_whole()

    def is_whole(self) -> None:
        assert not list(self.store.rglob("*.partial"))
        whole(self.store)
        assert contents(self.store) == contents(self.folder / "undisturbed.zarr")


@pytest.fixture(scope="module")
def train_labels(scene_folder: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of the train scenes when nothing happens."""
    store = tmp_path_factory.mktemp("undisturbed") / "labels.zarr"
    source = FolderImages(scene_folder / "images" / "train")
    run(source, str(store), recipe, LocalWorkers(), rows_per_shard=2, batch_size=2, compiled=False)
    return store


@pytest.fixture
def command(scene_folder: Path, checkpoint: Path, train_labels: Path, tmp_path: Path) -> Command:
    shutil.copytree(train_labels, tmp_path / "undisturbed.zarr")
    return Command(scene_folder / "images" / "train", checkpoint, tmp_path)


def test_the_driver_is_killed(command: Command) -> None:
    process = command.begin()
    process.kill()
    process.communicate()
    command.go_on(command.settled())


def test_the_machine_stops(command: Command) -> None:
    """All processes of the job at once: driver, workers, and Ray's own."""
    process = command.begin()
    for pid in _descendants(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    command.go_on(command.settled())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_job_and_it_says_how_to_go_on(command: Command, number: signal.Signals) -> None:
    """Ctrl-C goes to all processes of a terminal; a batch system tells the one that it has started."""
    process = command.begin()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "goes on where this one ended" in errors
    assert "Traceback" not in errors
    command.go_on(command.settled())


@pytest.mark.parametrize("after", [3.0, 5.5, 8.0] if ALL else [5.5])
@pytest.mark.parametrize("local", [False, True])
def test_a_signal_ends_a_job_that_has_not_begun(command: Command, after: float, local: bool) -> None:
    """While packages are imported, networks are loaded, and Ray starts."""
    words = [*_without(command.words, "--workers"), "--local"] if local else command.words
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(after)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    if len(command.done()) < 60:  # else it was on its way out
        assert process.returncode == 130, errors
        assert "goes on where this one ended" in errors


def test_two_drivers_at_once_share_the_work(command: Command) -> None:
    drivers = [
        subprocess.Popen([*command.words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [driver.communicate(timeout=240) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], answers
    told = [json.loads(out) for out, _ in answers]
    assert {each["labelled"] for each in told} == {120}
    command.is_whole()


def test_parts_from_several_processes_make_one_store(command: Command) -> None:
    for first, last in ((0, 19), (40, 59), (20, 39)):
        words = [*_without(command.words, "--workers"), "--local", "--shards", f"{first}-{last}"]
        subprocess.run(words, check=True, timeout=120)
    command.is_whole()


def test_the_pictures_are_gone_for_a_while(command: Command, tmp_path: Path) -> None:
    """As when a mount is lost: no picture is missing because of it."""
    mount = Path(shutil.copytree(command.images, tmp_path / "mount"))
    command = Command(mount, command.checkpoint, command.folder)
    process = command.begin()
    mount.rename(tmp_path / "gone")
    time.sleep(AWAY)
    assert process.poll() is None
    (tmp_path / "gone").rename(mount)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    command.is_whole()


def test_the_disk_is_full(command: Command, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        shutil.copytree(command.folder / "undisturbed.zarr", tmp_path / "all.zarr")
        small = Command(command.images, command.checkpoint, disk)
        full = subprocess.run(small.words, capture_output=True, text=True, timeout=180)
        assert full.returncode == 1, full.stderr
        assert "No space left on device" in full.stderr
        assert "when the cause is mended, the same command goes on here" in full.stderr
        assert "Traceback" not in full.stderr
        finished = small.settled()
        assert 0 < len(finished) < 60
        subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
        shutil.copytree(tmp_path / "all.zarr", disk / "undisturbed.zarr")
        small.go_on(finished)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


# ---- object stores


@pytest.mark.parametrize(("how", "every"), [("refused", 31), ("lost", 31), ("slow", 31), ("unread", 11)])
def test_an_object_store_fails_now_and_then(
    how: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 31st write is refused, is done but its answer lost, or takes seconds; or every 11th read is refused.

    12 shards are 72 writes and 24 reads: one of two workers fails at least once, and no shard three times, however the
    shards fall to them: for that it takes 31 + 31 + 62 writes, or 11 + 11 + 22 reads.
    """
    address, shards = f"s3://{s3.BUCKET}/{how}.zarr", 12
    with s3.server() as server:
        for name, value in s3.environment(server).items():
            monkeypatch.setenv(name, value)
        tasks = painted_store(address, shards)
        outcomes = list(RayWorkers(2).map(Refused(PaintedJob(address), how, every), tasks))
        assert all(outcome.record for outcome in outcomes)
        assert any(outcome.shard.attempt > 1 for outcome in outcomes) == (how != "slow")
        undisturbed(tmp_path, shards)
        store, same = whole(address), open_store(tmp_path / "undisturbed.zarr")
        for name in same.object_names():
            if not name.startswith("shards/record/c/"):
                assert store.read_object(name) == same.read_object(name), name


def _without(words: list[str], option: str) -> list[str]:
    at = words.index(option)
    return words[:at] + words[at + 2 :]


def _descendants(pid: int) -> list[int]:
    """A process and all that came of it, whatever sessions they are in."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found
