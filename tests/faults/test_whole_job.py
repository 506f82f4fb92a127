"""Does a job lose nothing when it is killed, its pictures are away or its disk is full? `make faults` has all cases."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from annotate.images import FolderImages
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from tests.faults.command import Command
from tests.storage.mounts.memory_disk import memory_disk

ALL = os.environ.get("FAULTS") == "all"
AWAY = 10.0 if ALL else 3.0  # seconds that the pictures are gone


@pytest.fixture(scope="module")
def train_labels(scene_folder: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of the train scenes when nothing happens."""
    store = tmp_path_factory.mktemp("undisturbed") / "labels.zarr"
    source = FolderImages(scene_folder / "images" / "train")
    run(source, str(store), recipe, LocalWorkers(), rows_per_shard=2, batch_size=2, compiled=False)
    return store


@pytest.fixture
def command(scene_folder: Path, checkpoint: Path, recipe: Recipe, train_labels: Path, tmp_path: Path) -> Command:
    shutil.copytree(train_labels, tmp_path / "undisturbed.zarr")
    return Command(scene_folder / "images" / "train", checkpoint, tmp_path, recipe)


def test_the_driver_is_killed(command: Command) -> None:
    process = command.begin()
    process.kill()
    process.communicate()
    command.resume(command.settled(), local=not ALL)


def test_the_machine_stops(command: Command) -> None:
    """All processes of the job at once: driver, workers, and Ray's own."""
    process = command.begin()
    for pid in _descendants(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    (command.resume if ALL else command.resume_here)(command.settled())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_job_and_it_says_how_to_resume(command: Command, number: signal.Signals) -> None:
    """Ctrl-C goes to all processes of a terminal; a batch system signals the one that it has started."""
    process = command.begin()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    (command.resume if ALL else command.resume_here)(command.settled())


@pytest.mark.parametrize("after", [3.0, 5.5, 8.0] if ALL else [5.5])
@pytest.mark.parametrize("local", [False, True])
def test_a_signal_ends_a_job_that_has_not_begun(command: Command, after: float, local: bool) -> None:
    """While packages are imported, networks are loaded, and Ray starts."""
    words = command.words_local if local else command.words
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(after)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    if len(command.done()) < 60:  # else it was on its way out
        assert process.returncode == 130, errors
        assert "run the same command again to resume" in errors


def test_two_drivers_at_once_share_the_work(command: Command) -> None:
    with_ray = [*command.words_alone, "--workers", "1"]
    drivers = [
        subprocess.Popen([*words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for words in (with_ray, with_ray if ALL else command.words_local)
    ]
    answers = [driver.communicate(timeout=240) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], answers
    summaries = [json.loads(out) for out, _ in answers]
    assert {each["labelled"] for each in summaries} == {120}
    command.is_whole()


def test_parts_from_several_processes_make_one_store(command: Command) -> None:
    for first, last in ((0, 19), (40, 59), (20, 39)) if ALL else ((20, 59), (0, 19)):
        subprocess.run([*command.words_local, "--shards", f"{first}-{last}"], check=True, timeout=120)
    command.is_whole()


def test_the_pictures_are_gone_for_a_while(command: Command, tmp_path: Path) -> None:
    """As when a mount is lost: no picture is missing because of it."""
    mount = Path(shutil.copytree(command.images, tmp_path / "mount"))
    command = replace(command, images=mount)
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
    with memory_disk(disk, "400k"):
        shutil.copytree(command.folder / "undisturbed.zarr", tmp_path / "all.zarr")
        small = replace(command, folder=disk)
        full = subprocess.run(small.words, capture_output=True, text=True, timeout=180, env=small.environment)
        assert full.returncode == 1, full.stderr
        assert "No space left on device" in full.stderr
        assert "when the cause is fixed, the same command continues here" in full.stderr
        assert "Traceback" not in full.stderr
        finished = small.settled()
        assert 0 < len(finished) < 60
        subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
        shutil.copytree(tmp_path / "all.zarr", disk / "undisturbed.zarr")
        (small.resume if ALL else small.resume_here)(finished)


def _descendants(pid: int) -> list[int]:
    """A process and all its descendants, in any session."""
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
