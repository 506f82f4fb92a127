"""Does a plan agree with what a run takes?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage import open_store
from tests.annotate.commands.conftest import MODEL


def test_a_plan_says_what_a_job_will_take(command, scene_folder: Path, checkpoint: Path) -> None:
    words = ["plan", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint]
    answer = json.loads(command(*words, "--json", "--assume", "1281167").stdout)
    assert (answer["pictures"], answer["shards"], answer["probed"], answer["unreadable"]) == (1281167, 1252, 112, 0)
    assert answer["per_second"]["low"] <= answer["per_second"]["mid"] <= answer["per_second"]["high"]
    about = answer["pictures"] / answer["per_second"]["mid"] / 3600
    assert answer["worker_hours"]["mid"] == pytest.approx(about, rel=0.01)
    text = command(*words).stdout
    assert "30 pictures in 30 shards" in text
    assert "core-hours" in text


def test_a_plans_bytes_are_those_of_the_store(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = [scene_folder / "images/train", *MODEL, "--checkpoint", checkpoint]
    planned = json.loads(command("plan", *words, "--json").stdout)["bytes_each"] * 120
    store = tmp_path / "s.zarr"
    assert command("run", words[0], store, *words[1:], "--rows-per-shard", 120).exit_code == 0
    written = sum((store / name).stat().st_size for name in open_store(store).record(0).objects)
    assert planned == pytest.approx(written, rel=0.15)
