"""Does what `make gpu` runs on a GPU run on the CPU, at tiny sizes? And does a device's idle time add up?"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.annotate import busy
from benchmarks.gpu import __main__ as gpu


def test_the_page_of_a_gpu_is_made_with_all_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.compile", lambda module, dynamic: module)
    text = gpu.page(
        tmp_path,
        chosen=(("test_resnet", 64),),
        batches=(1, 2),
        pictures=32,
        side=64,
        student="lvvit_t",
        student_batch=1,
        seconds=60,
        decoders=(1,),
        tasks=2,
    )
    (row,) = [line for line in text.splitlines() if "test_resnet at 64" in line and "compiled, " in line]
    assert "not reached" not in row
    for words in ("Measured on the CPU", "threads | processes", "One step of lvvit_t", "All of it took"):
        assert words in text


def test_without_a_gpu_the_page_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = gpu.PAGE.read_text()
    result = CliRunner().invoke(gpu.main, [])
    assert (result.exit_code, gpu.PAGE.read_text()) == (1, before)
    assert "torch finds no GPU here" in result.output


def test_the_stand_in_has_work_for_a_fraction_of_the_time_by_shard_and_by_rate(tmp_path: Path) -> None:
    found = busy.measure(tmp_path, shards=(8, 16), rates=(0.5,), least=2)
    assert [*found.shards] == [8, 16]
    fractions = [*found.rates.values(), *(one for pair in found.shards.values() for one in pair)]
    assert all(0 < fraction <= 1 for fraction in fractions)
    assert "one shard after another | overlapping" in found.describe()
