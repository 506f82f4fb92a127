"""Do the benchmarks of labelling measure what they say? Of each a small slice; no time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.annotate import labelling
from storage import open_store, verify


def test_parts_of_shards_are_counted_between_two_moments() -> None:
    ended = [10.0, 20.0, 40.0]
    assert labelling.shards_between(ended, 10, 40) == pytest.approx(2)
    assert labelling.shards_between(ended, 15, 30) == pytest.approx(1)


def test_every_way_of_labelling_has_its_rate_and_every_step_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # read by new processes: one of five that compile is enough here
    found = labelling.measure(tmp_path, networks={"test_resnet": 64}, rounds=1, shards=4)
    assert [*found.rates["test_resnet"]] == [labelling.BARE, labelling.OURS, labelling.PUBLISHED]
    assert all(rate > 0 for (rate,) in found.rates["test_resnet"].values())
    assert all(found.steps["test_resnet"][step] > 0 for step in labelling.STEPS)
    assert verify(open_store(tmp_path / "test_resnet-0.zarr"), deep=True).state == "ok"
    assert len(list((tmp_path / "pickles").rglob("*.pt"))) >= labelling.BATCH
    assert "JPEG files of 500x375" in found.describe()
