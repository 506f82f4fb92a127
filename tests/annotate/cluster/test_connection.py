"""Does Ray start wherever a run may start, keep its secrets, and leave nothing behind?"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from annotate.cluster.connection import LOCAL, connected
from annotate.cluster.ray_workers import RayWorkers
from annotate.cluster.temporary_folder import temporary_folder
from annotate.errors import AnnotateError
from annotate.jobs.labelling.shard import Shard
from tests.storage.mounts.memory_disk import memory_disk

ONE_SHARD = """
import json, os
from pathlib import Path
from annotate.cluster.ray_workers import RayWorkers
from annotate.jobs.labelling.shard import Shard
from storage import Record

os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

class Instant:
    def start(self):
        return lambda shard: Record(start=0, stop=1, labelled=1)

found = []
for round in range(2):  # one process may have two Rays, one after the other
    for outcome in RayWorkers().map(Instant(), [Shard(range(1), ())]):
        import ray
        folder = Path(ray._private.worker._global_node.get_session_dir_path()).parent
        found.append({
            "labelled": outcome.record.labelled,
            "cores": ray.cluster_resources()["CPU"],
            "folder": str(folder),
            "mode": oct(folder.parent.stat().st_mode)[-3:],
            "token": os.environ["RAY_AUTH_TOKEN"],
            "required": os.environ["RAY_AUTH_MODE"],
        })
print(json.dumps([found, "RAY_AUTH_TOKEN" in os.environ]))
"""


def test_neither_home_nor_tmpdir_keeps_ray_from_starting_and_nothing_is_left(tmp_path: Path) -> None:
    """HOME cannot be made, RAY_TMPDIR cannot be written, and TMPDIR is too long for a socket; one core may be used."""
    long = tmp_path / ("long" * 20)
    long.mkdir()
    environment = {**os.environ, "HOME": "/dev/null/home", "RAY_TMPDIR": "/dev/null/ray", "TMPDIR": str(long)}
    environment = {name: value for name, value in environment.items() if not name.startswith("RAY_AUTH")}
    command = [sys.executable, "-c", ONE_SHARD]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert result.returncode == 0, result.stderr
    (first, second), token_stays = json.loads(result.stdout.splitlines()[-1])
    for each in (first, second):
        assert (each["labelled"], each["cores"], each["mode"]) == (1, 1.0, "700")
        assert not Path(each["folder"]).parent.exists()
        assert (len(each["token"]), each["required"]) == (64, "token")
    assert first["token"] != second["token"]
    assert not token_stays
    assert list(long.iterdir()) == []


def test_no_client_of_ray_is_left_to_a_process_that_is_forked_later() -> None:
    """Freed in a fork, such as a loader's worker, it waits for ever for a thread that the fork does not have."""
    others = clients_of_ray()  # of clusters that other tests have made
    gc.disable()
    try:
        with connected(LOCAL):
            assert clients_of_ray() > others
        assert clients_of_ray() == others
    finally:
        gc.enable()


def clients_of_ray() -> int:
    return sum(type(each).__name__ == "GcsClient" for each in gc.get_objects())


def test_a_folder_that_ray_cannot_have_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "annotate.cluster.temporary_folder._parents", lambda: [Path("/dev/null/ray"), tmp_path / ("long" * 9)]
    )
    (tmp_path / ("long" * 9)).mkdir()
    with pytest.raises(AnnotateError) as caught, connected("local"):
        pass
    for words in ("/dev/null/ray: Not a directory", "its path is too long for a socket", "Set TMPDIR", "--local"):
        assert words in str(caught.value)


def test_ray_is_not_started_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would say after 44 s that its node timed out. It is started in another folder, or a message says so."""
    with tempfile.TemporaryDirectory(dir="/tmp") as at, memory_disk(Path(at), "1m"):
        monkeypatch.setenv("RAY_TMPDIR", at)
        with temporary_folder() as folder:
            assert folder.parent.parent != Path(at)
        monkeypatch.setattr("annotate.cluster.temporary_folder._parents", lambda: [Path(at)])
        words = f"{at}: its disk has only 1 MB left.* Set TMPDIR to .* and 50 MB are free, or .* with --local"
        with pytest.raises(AnnotateError, match=words), connected(LOCAL):
            pass
        assert [*Path(at).iterdir()] == []


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError("AF_UNIX"), Exception("timed out.")]
)
def test_whatever_keeps_ray_from_starting_is_one_message_with_a_way_out(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def refuse(**settings: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(
        AnnotateError, match=r"Ray cannot start on this machine: .*\. Label without it, .* --local"
    ) as one:
        next(RayWorkers(1).map(None, [Shard(range(1), ())]))
    assert one.value.__notes__ == ["docs/cluster.md#one-machine explains it"]
    with pytest.raises(AnnotateError, match=r"cannot reach the Ray cluster at 'auto': .*the same token"):
        next(RayWorkers(1, address="auto").map(None, [Shard(range(1), ())]))


def test_a_cluster_that_is_not_there_is_one_message() -> None:
    with pytest.raises(AnnotateError, match="cannot reach the Ray cluster at '127.0.0.1:9'"):
        next(RayWorkers(address="127.0.0.1:9").map(None, [Shard(range(1), ())]))


def test_what_a_killed_run_left_is_removed_by_the_next_and_that_of_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotate.cluster.temporary_folder._parents", lambda: [tmp_path])
    monkeypatch.setattr("annotate.cluster.temporary_folder._LONGEST", 1000)
    for name in ("annotate-ray-killed", "annotate-ray-alive", "annotate-ray-beginning", "annotate-ray-half", "other"):
        (tmp_path / name).mkdir()
        if "half" not in name:  # removed in part, while Ray's last process still wrote into it
            (tmp_path / name / "lock").touch()
        if "beginning" not in name:
            (tmp_path / name / "r").mkdir()
    for name in ("annotate-ray-empty", "annotate-ray-old", "annotate-ray-waiting"):  # killed before the inner folder
        (tmp_path / name).mkdir()
        if "empty" not in name:
            (tmp_path / name / "lock").touch()
        os.utime(tmp_path / name, (time.time() - 4000,) * 2)
    waiting = (tmp_path / "annotate-ray-waiting" / "lock").open("w")
    fcntl.flock(waiting, fcntl.LOCK_EX)
    with waiting, (tmp_path / "annotate-ray-alive" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with temporary_folder() as folder:
            assert folder.is_dir()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"annotate-ray-alive", "annotate-ray-beginning", "annotate-ray-waiting", "other"}
