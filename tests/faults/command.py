"""How is a job started as users start it, disturbed, and continued? `annotate run` in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from annotate.images import FolderImages
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from tests.conftest import MODEL_KWARGS, contents
from tests.faults.sound import whole

_MARK = "JOB_OF_A_TEST"  # in the environment of all processes of a job


@dataclass(frozen=True)
class Command:
    """`annotate run` on the train scenes, in processes of its own."""

    images: Path
    checkpoint: Path
    folder: Path
    recipe: Recipe

    @property
    def store(self) -> Path:
        return self.folder / "labels.zarr"

    @property
    def words(self) -> list[str]:
        words = [sys.executable, "-m", "cli", "run", self.images, self.store, "--model", "test_resnet"]
        words += [word for key, value in MODEL_KWARGS.items() for word in ("--model-kwarg", f"{key}={value}")]
        words += ["--checkpoint", self.checkpoint, "--input-size", "64", "--rows-per-shard", "2", "--workers", "2"]
        return [*map(str, words), "--batch-size", "2", "--no-compile"]

    @property
    def words_alone(self) -> list[str]:
        """Without a number of workers."""
        at = self.words.index("--workers")
        return self.words[:at] + self.words[at + 2 :]

    @property
    def words_local(self) -> list[str]:
        """Without Ray: 4 times less work for the processor, most of which is starting processes."""
        return [*self.words_alone, "--local"]

    @property
    def environment(self) -> dict[str, str]:
        """Marks all processes of the job."""
        return {**os.environ, _MARK: str(self.folder)}

    def begin(self, *more: str) -> subprocess.Popen[str]:
        """Start it, and come back when some shards are done."""
        process = subprocess.Popen(
            [*self.words, *more],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=self.environment,
            preexec_fn=_take_interrupts,
        )
        deadline = time.monotonic() + 300  # so much only on a busy machine
        while len(self.done()) < 3:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline, "the run made no progress"
            time.sleep(0.005)
        return process

    def done(self) -> set[str]:
        folder = self.store / "shards/record/c"
        return {name for name in os.listdir(folder) if name.isdecimal()} if folder.is_dir() else set()

    def settled(self) -> dict[str, bytes]:
        """The commit records, once the processes of the job have ended: some outlive their driver by a moment."""
        deadline = time.monotonic() + 120
        while self._is_alive():
            assert time.monotonic() < deadline, "processes of the job do not end"
            time.sleep(0.1)
        return {name: (self.store / "shards/record/c" / name).read_bytes() for name in self.done()}

    def _is_alive(self) -> bool:
        """Whether any process that `begin` started, in whatever session, is there."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{_MARK}={self.folder}\0".encode() in (entry / "environ").read_bytes():
                    return True
        return False

    def resume(self, finished: dict[str, bytes], *, local: bool = False) -> None:
        """The same command again, perhaps `--local`: it does what is missing, and no shard that was finished."""
        words = self.words_local if local else self.words
        again = subprocess.run([*words, "--json"], capture_output=True, text=True, timeout=180, check=True)
        self._has_continued(finished, json.loads(again.stdout)["labelled_now"])

    def resume_here(self, finished: dict[str, bytes]) -> None:
        """What the same command does in its own process with `--local`, but in this one, which has imported torch."""
        summary = run(FolderImages(self.images), str(self.store), self.recipe, LocalWorkers())
        self._has_continued(finished, summary.labelled_now)

    def _has_continued(self, finished: dict[str, bytes], labelled_now: int) -> None:
        assert labelled_now == 120 - 2 * len(finished)
        for name, record in finished.items():
            assert (self.store / "shards/record/c" / name).read_bytes() == record
        self.is_whole()

    def is_whole(self) -> None:
        assert not list(self.store.rglob("*.partial"))
        whole(self.store)
        assert contents(self.store) == contents(self.folder / "undisturbed.zarr")


def _take_interrupts() -> None:
    """A shell starts what runs in its background, perhaps these tests, with SIGINT ignored; then so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
