"""Does what `make gpu` runs on a GPU run on the CPU, at tiny sizes? And does a device's idle time add up?"""

from __future__ import annotations

import os
import time
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from annotate.model.annotator import Prepared
from benchmarks.annotate import busy
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import decoding
from benchmarks.gpu.apart import Say, apart
from benchmarks.gpu.networks import Speed
from benchmarks.reference import Maps


def cells(text: str, start: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith(f"| {start} ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_of_a_gpu_is_made_with_all_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # for the processes that it starts
    for name in ("OF_MATRIX", "OF_STEP", "OF_DECODING"):
        monkeypatch.setattr(gpu, name, 200)  # seconds: on a busy machine, to import torch takes long
    text = gpu.page(
        tmp_path,
        chosen=(("test_resnet", 64, 200.0), ("no_such_network", 64, 200.0)),
        batches=(1, 2),
        pictures=32,
        side=64,
        student="lvvit_t",
        student_batch=1,
        decoders=(1,),
        tasks=2,
    )
    uncompiled, compiled = cells(text, "test_resnet at 64")[:2]
    assert (uncompiled[1].split(",")[0], compiled[1].split(",")[0]) == ("uncompiled", "compiled")
    for row in (uncompiled, compiled):
        limit, alone, labelled = (float(cell.replace(",", "")) for cell in row[2:5])
        assert min(limit, alone, labelled) > 0
        assert float(row[5]) == pytest.approx(labelled / alone, abs=0.02, rel=0.05)
    assert cells(text, "no_such_network at 64")[0][1:] == ["uncompiled", "", "", "", "not reached"]
    assert "- no_such_network at 64: RuntimeError: Unknown model (no_such_network)" in text
    for words in ("Measured on the CPU", "threads | processes", "One step of lvvit_t", "All of it took"):
        assert words in text
    assert not [*tmp_path.glob("*.safetensors")]


def test_all_of_it_has_less_than_eight_minutes() -> None:
    together = sum(seconds for _, _, seconds in gpu.NETWORKS) + gpu.OF_MATRIX + gpu.OF_STEP + gpu.OF_DECODING
    assert together <= 450  # half a minute is left for pictures, and for the last count of decoders


def test_a_container_with_little_shared_memory_uses_its_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(64e6, 0, 64e6))
    assert gpu.parent_folder() is None
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(64e9, 0, 64e9))
    monkeypatch.setattr(Path, "is_dir", lambda folder: True)
    assert gpu.parent_folder() == "/dev/shm"


def hang(say: Say) -> None:
    say("first", 1)
    time.sleep(40)
    say("second", 2)


def fail(say: Say, *, how: str) -> None:
    say("first", 1)
    if how == "dies":
        os._exit(7)
    raise RuntimeError("CUDA error: an illegal memory access\nand much more")


def test_a_part_that_hangs_fails_or_dies_keeps_what_it_measured_and_stops_no_other() -> None:
    hung = apart(hang, seconds=15.0)
    assert (hung.values, hung.why) == ({"first": 1}, "ended after 15 s")
    failed = apart(fail, seconds=120.0, how="raises")
    assert (failed.values, failed.why) == ({"first": 1}, "RuntimeError: CUDA error: an illegal memory access")
    died = apart(fail, seconds=120.0, how="dies")
    assert (died.values, died.why) == ({"first": 1}, "its process ended with 7")


def test_the_share_of_a_network_that_was_measured_in_part_is_not_reached() -> None:
    bare = {(False, 32): 100.0, (False, 64): 200.0, (False, 128): None, (True, 64): 300.0}
    one = Speed("net", 64, 400.0, bare, {(False, 64): 150.0}, "ended after 40 s")
    assert one.rows == [
        ["net at 64", "uncompiled, 64", "400", "200", "150", "0.75"],
        ["net at 64", "compiled, 64", "400", "300", "", "not reached"],
    ]


def test_no_count_of_decoders_is_begun_when_time_is_up(tmp_path: Path) -> None:
    paths = sorted(decoding.write_pictures(tmp_path / "images", 4).glob("*.jpg"))
    assert decoding.rates(paths, (1, 2), size=32, tasks=1, seconds=-1.0) == {}


def test_without_a_gpu_the_page_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = gpu.PAGE.read_text()
    result = CliRunner().invoke(gpu.main, [])
    assert (result.exit_code, gpu.PAGE.read_text()) == (1, before)
    assert "torch finds no GPU here" in result.output


def test_the_stand_in_has_work_for_a_fraction_of_the_time_by_shard_and_by_rate(tmp_path: Path) -> None:
    found = busy.measure(tmp_path, shards=(8, 16), rates=(0.5,), least=2)
    assert [*found.shards] == [8, 16]
    (rate,) = found.rates
    fractions = [rate.busy, *(one for pair in found.shards.values() for one in pair)]
    assert all(0 < fraction <= 1 for fraction in fractions)
    assert rate.a_second > 0
    assert rate.of_capacity > 0
    assert "one shard after another | overlapping" in found.describe()


def test_the_stand_in_counts_the_time_without_work_and_uses_no_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of a second each at 0 s, then one at 5 s: idle for 3 of 6 seconds."""
    now, slept = [100.0], list[float]()
    monkeypatch.setattr("benchmarks.annotate.busy.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("benchmarks.annotate.busy.time.sleep", slept.append)
    device = busy.StandIn(2, Maps.load())
    batch: list[Prepared] = [device.prepare(busy.np.zeros((9, 9, 3), busy.np.uint8))] * 2
    first, second = device.start(batch), device.start(batch)
    first(), second()
    assert slept == [1, 2]
    now[0] = 105.0
    device.start(batch)
    assert device.busy == pytest.approx(0.5)
