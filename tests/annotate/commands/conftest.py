"""What do the tests of commands call? The command line in this process, on a store that they may change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import annotate.cluster.ray_workers
from annotate.jobs.workers import LocalWorkers
from cli import main
from tests.conftest import MODEL_KWARGS

MODEL = ["--model", "test_resnet", "--input-size", "64"]
MODEL += [word for key, value in MODEL_KWARGS.items() for word in ("--model-kwarg", f"{key}={value}")]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, with LocalWorkers: what Ray adds is tested in tests/annotate/cluster."""
    monkeypatch.setattr(annotate.cluster.ray_workers, "RayWorkers", lambda *_, **__: LocalWorkers())

    def call(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    return call


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished store, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "labels.zarr"))
