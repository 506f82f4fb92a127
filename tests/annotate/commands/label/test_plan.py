"""Does a plan agree with what a run takes?"""

from __future__ import annotations

import json
import re
import shutil
import threading
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import annotate.jobs.plan
from annotate.errors import AnnotateError
from annotate.images import open_images
from annotate.jobs.plan import Plan, plan
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from storage import StoreError, open_store
from storage.errors import explained
from tests.annotate.commands.conftest import MODEL


def test_a_plan_says_what_a_job_will_take(command, scene_folder: Path, checkpoint: Path) -> None:
    words = ["plan", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint]
    answer = json.loads(command(*words, "--json", "--assume", "1281167").stdout)
    assert (answer["pictures"], answer["shards"], answer["probed"], answer["unreadable"]) == (1281167, 1252, 112, 0)
    assert answer["per_second"]["low"] <= answer["per_second"]["mid"] <= answer["per_second"]["high"]
    about = answer["pictures"] / answer["per_second"]["mid"] / 3600
    assert answer["worker_hours"]["mid"] == pytest.approx(about, rel=0.01)
    text = command(*words, "--no-compile").stdout
    assert "30 pictures in 4 shards" in text
    assert "core-hours" in text
    assert answer["binds"] in ("network", "cores")
    assert answer["core_per_second"] > 0
    assert (answer["gpu_per_second"], answer["cores_needed"]) == (None, None)
    assert "decide the speed: of a core's time, the networks take" in text


def test_whether_scales_are_worth_their_cost_is_measured_where_it_is_asked(
    command, scene_folder: Path, checkpoint: Path
) -> None:
    words = ["plan", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint]
    answer = json.loads(command(*words, "--fidelity", "--json").stdout)
    assert answer["fidelity"]["passes"] == 3
    assert answer["fidelity"]["pictures"] == 16
    assert answer["shards"] == 4
    text = command(*words, "--fidelity").stdout
    assert "fidelity of crops of 25% on 16 pictures: KL " in text
    assert "fidelity" not in json.loads(command(*words, "--json").stdout)


def test_the_scales_that_are_given_are_those_that_are_compared(command, scene_folder: Path, checkpoint: Path) -> None:
    words = ["plan", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint, "--fidelity", "--json"]
    found = json.loads(command(*words, "--scales", "1,1.5").stdout)["fidelity"]
    assert (found["scales"], found["passes"]) == ([1.0, 1.5], 2)
    assert json.loads(command(*words).stdout)["fidelity"]["scales"] == [0.8, 1.0, 1.2]


def test_a_comparison_that_fails_comes_after_the_plan_and_names_its_page(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(next((scene_folder / "images/val").rglob("*.jpg")), tmp_path)
    words = ["plan", tmp_path, *MODEL, "--checkpoint", checkpoint, "--fidelity"]
    text, machine = command(*words), command(*words, "--json")
    for result in (text, machine):
        assert result.exit_code == 1
        assert "error: --fidelity could not compare labels without and with --scales: cannot compare" in result.stderr
    assert "1 pictures in 1 shards" in text.stdout
    answer = json.loads(machine.stdout)
    assert (answer["pictures"], answer["fidelity"]) == (1, None)

    def refuse(*_: object, **__: object) -> None:
        raise explained(AnnotateError("no"), "annotators.md#every-family-of-timm")

    monkeypatch.setattr("annotate.fidelity.worth_of_scales", refuse)
    assert command(*words).stderr.endswith("scales: no\ndocs/annotators.md#every-family-of-timm explains it\n")

    def no_store(*_: object, **__: object) -> None:
        raise StoreError("no space")

    monkeypatch.setattr("annotate.fidelity.worth_of_scales", no_store)
    machine = command(*words, "--json")
    assert (machine.exit_code, json.loads(machine.stdout)["fidelity"]) == (1, None)
    assert "with --scales: no space" in machine.stderr


@pytest.mark.parametrize(
    ("gpu_speed", "cores", "processes", "binds", "words"),
    [
        (350.0, 16.0, 1, "network", "needs 1 core to read, decode and write them; here it has 16, so the GPU decides"),
        (1400.0, 2.0, 1, "cores", "needs 4 cores .* has 2, so the cores decide the speed: 800 pictures a second$"),
        (5000.0, 16.0, 1, "process", "needs 13 cores .* about 2,000 a second .* --gpus-per-worker 0.33 lets 3 share"),
        (5000.0, 8.0, 1, "process", "needs 13 cores .* has 8. But .* --gpus-per-worker 0.5 lets 2 share a GPU$"),
        (5000.0, 16.0, 3, "network", "needs 13 cores .* so the GPU decides the speed$"),
        (5000.0, 2.0, 1, "cores", "the cores decide the speed: 800 pictures a second$"),
    ],
)
def test_a_plan_says_what_binds_and_how_many_cores_a_gpu_needs(
    gpu_speed: float, cores: float, processes: float, binds: str, words: str
) -> None:
    found = Plan(
        pictures=9,
        shards=1,
        bytes=900,
        bytes_each=100,
        speeds=(300, 320, 340),
        workers=1,
        device="some GPU",
        unreadable=0,
        probed=112,
        why="",
        core_seconds=0.0025,
        gpu_speed=gpu_speed,
        cores=cores,
        processes=processes,
    )
    assert found.binds == found.to_json()["binds"] == binds
    (line,) = [line for line in found.describe().splitlines() if line.startswith("a GPU alone labels")]
    assert re.search(words, line), line


@pytest.mark.parametrize(
    ("core_seconds", "workers", "each", "binds"),
    [(0.001, 2, 1200, "network"), (0.005, 2, 800, "cores"), (0.001, 8, 300, "network"), (0.005, 8, 200, "cores")],
)
def test_the_speed_of_a_worker_with_a_gpu_is_what_its_part_of_the_gpu_and_of_the_cores_allows(
    tmp_path: Path,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    core_seconds: float,
    workers: int,
    each: float,
    binds: str,
) -> None:
    """Two GPUs and eight cores; the probe's small shards do not keep a GPU busy."""
    for n in range(2):
        Image.new("RGB", (9, 7), (n, n, n)).save(tmp_path / f"{n}.png")
    for name, value in (
        ("torch.cuda.device_count", lambda: 2),
        ("annotate.jobs.plan.usable_cores", lambda: 8),
        ("annotate.jobs.plan.networks_alone", lambda *_: 1200.0),
        ("annotate.jobs.plan.seconds_of_reading", lambda *_: (0.75 * core_seconds, [None])),
        ("annotate.jobs.plan.seconds_of_writing", lambda *_: 0.25 * core_seconds),
        ("annotate.jobs.plan.Annotator", lambda *args, **named: Annotator(*args, **{**named, "device": "cpu"})),
    ):
        monkeypatch.setattr(name, value)
    found = plan(open_images(tmp_path), recipe, compiled=False, workers=workers)
    assert found.speeds[1] == pytest.approx(each)
    assert found.speeds[0] <= found.speeds[1] <= found.speeds[2]
    assert (found.binds, found.cores, found.cores_needed) == (binds, 4, pytest.approx(1200 * core_seconds))


def test_the_time_of_a_core_is_measured_with_one_thread(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the processor time of the calling thread: work of others would be left out, and cores seem faster."""
    Image.new("RGB", (9, 7)).save(tmp_path / "1.png")
    threads, prepare = set[int](), Annotator.prepare

    def noting(self: Annotator, picture: np.ndarray) -> object:
        if threading.current_thread() is threading.main_thread() and picture.shape[:2] == (7, 9):
            threads.add(torch.get_num_threads())
        return prepare(self, picture)

    monkeypatch.setattr(Annotator, "prepare", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        plan(open_images(tmp_path), recipe, compiled=False)
    finally:
        torch.set_num_threads(before)
    assert threads == {1}


def test_a_plans_bytes_are_those_of_the_store(command, scene_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = [scene_folder / "images/train", *MODEL, "--checkpoint", checkpoint]
    planned = json.loads(command("plan", *words, "--json").stdout)["bytes_each"] * 120
    store = tmp_path / "s.zarr"
    assert command("run", words[0], store, *words[1:], "--rows-per-shard", 120).exit_code == 0
    written = sum((store / name).stat().st_size for name in open_store(store).record(0).objects)
    assert planned == pytest.approx(written, rel=0.15)


def test_pictures_that_cannot_be_read_are_left_out_of_the_speed(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(8):
        Image.new("RGB", (9, 7), (n, n, n)).save(tmp_path / f"{n}.png")
        if n % 2:
            (tmp_path / f"{n}.png").write_bytes(b"")
    seconds = count()  # so that each shard takes one
    clock = SimpleNamespace(monotonic=lambda: next(seconds), thread_time=lambda: 0.0)
    monkeypatch.setattr(annotate.jobs.plan, "time", clock)
    found = plan(open_images(tmp_path), recipe, compiled=False)
    draws = np.random.default_rng(0).integers(8, size=(7, 16))
    assert found.unreadable == (draws % 2).sum()
    readable = sorted((draws[1:] % 2 == 0).sum(1).tolist())
    assert (found.speeds[0], found.speeds[2]) == (readable[0], readable[-1])


def test_a_plan_of_pictures_that_cannot_be_read_says_why(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(AnnotateError, match="cannot plan: 0 of the 112 pictures .* Reasons: the file is empty"):
        plan(open_images(tmp_path), recipe, compiled=False)
