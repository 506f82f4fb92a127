"""How is a job started as users start it, disturbed, and continued? `annotate run` in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import MODEL_KWARGS, contents
from tests.faults.sound import whole


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

    def resume(self, finished: dict[str, bytes]) -> None:
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
