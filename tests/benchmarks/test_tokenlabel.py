"""Do the benchmarks of training measure what they say? Of each a small slice; no time is asserted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from benchmarks.reference import CLASS_COUNT, Maps, write_pickles
from benchmarks.tokenlabel import geometry, pipelines, pruning, step, training
from storage import Box
from tokenlabel import random_view
from tokenlabel.targets.align_numba import published_targets


def test_targets_losses_and_steps_of_training_are_measured(tmp_path: Path) -> None:
    found = training.measure(tmp_path, rows=96, rounds=2, classes=(1000,))
    assert [timing.name for timing in found.targets] == [training.PEER, training.SAME, training.OURS]
    assert [timing.name for timing in found.losses[1000]] == [training.DENSE, training.SPARSE]
    assert all(ms > 0 for ms in found.steps.values())
    assert found.bytes_sparse < 6e6 < found.bytes_dense
    assert "published method" in found.describe()


def test_the_published_methods_numbers_are_its_own(tmp_path: Path) -> None:
    """Sparse, and of its own logits; so that two ways of one thing are compared."""
    maps = Maps.load()
    paths = write_pickles(maps, tmp_path / "pickles", 8)
    labels = training._logit_store(maps, tmp_path / "logits.zarr", 8).read(range(8))
    views = [random_view(np.random.default_rng(n), (375, 500), mirror=0) for n in range(8)]
    dense = training.published(paths, views).transpose(1, 2).numpy()
    classes, probabilities, _ = published_targets(labels, views, training.TOKENS, 40, class_count=CLASS_COUNT)
    apart = np.take_along_axis(dense, classes, -1) - probabilities
    assert np.abs(apart[probabilities > 0]).max() < 1e-4
    assert probabilities.sum(-1).mean() > 0.3


def test_the_published_arithmetic_is_right_on_square_pictures_and_ours_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its centre square: so that what is measured is its error, and not one of ours in repeating it."""
    names = ("rotation by up to 30°", "shear by up to 0.3", "shift by up to a quarter")
    monkeypatch.setattr(geometry, "TRANSFORMS", {name: geometry.TRANSFORMS[name] for name in names})
    wide = geometry.measure(draws=2)
    assert all(row.ours[0] < 0.05 and row.published[0] > 0.3 for row in wide)
    monkeypatch.setattr(geometry, "SIZE", (240, 240))
    monkeypatch.setattr(geometry, "_SQUARE", Box.whole())
    square = geometry.measure(draws=2)
    assert all(row.ours[0] < 0.05 and row.published[0] < 0.05 for row in square)
    assert "has none" not in geometry.describe(square)


def test_dropping_tokens_is_measured_and_saves_the_operations_that_were_published() -> None:
    """By facts of the published networks: 6.55, 4.65 and 3.79 GMACs at 224 pixels."""
    networks = [timm.create_model(name).eval() for name in (pruning.BASE, *pruning.PRUNED)]
    counted = [pruning.multiply_adds(network, torch.randn(1, 3, 224, 224)) / 1e9 for network in networks]
    assert counted == pytest.approx([6.55, 4.65, 3.79], abs=0.02)
    found = pruning.measure(size=64, batch=2, rounds=2)
    assert [timing.name for timing in found.timings] == [pruning.BASE, *pruning.PRUNED]
    rows = [row for row in found.describe().splitlines() if "lvvit_s" in row]
    assert len(rows) == 3
    assert found.operations == sorted(found.operations, reverse=True)


def test_a_training_step_is_measured_with_both_kinds_of_targets() -> None:
    found = step.measure("lvvit_t", 2, size=32, rounds=2)
    assert [timing.name for timing in found.timings] == [training.DENSE, training.SPARSE]
    assert found.tokens == 4
    rows = found.describe("lvvit_t", 2).splitlines()
    assert sum("dense targets" in row or "sparse targets" in row for row in rows) == 2


def test_samples_of_every_pipeline_are_measured_with_and_without_a_label(tmp_path: Path) -> None:
    found = pipelines.measure(tmp_path, rounds=2)
    assert list(found.timings) == list(pipelines.PIPELINES)
    assert all(found.ratio(name).median > 0.5 for name in found.timings)
    assert all(name in found.describe() for name in found.timings)
    assert all(row["labelled_ms"] > row["alone_ms"] * 0.5 for row in found.to_json().values())
