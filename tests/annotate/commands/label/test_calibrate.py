"""Are fitted settings written where they are asked for?"""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.jobs.calibrate import Calibration
from annotate.model.annotator import Annotator
from tests.annotate.commands.conftest import MODEL


def test_settings_that_cannot_be_written_are_one_message(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["calibrate", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint, "--count", 8]
    result = command(*words, "-o", tmp_path / "no" / "a.toml")
    assert (result.exit_code, "cannot write" in result.stderr) == (1, True), result.output
    assert command(*words, "-o", tmp_path / "a.toml").stdout.endswith("give it to `annotate run` with --config\n")
    assert "temperature" in (tmp_path / "a.toml").read_text()


def test_an_open_precision_is_the_one_that_a_new_store_would_have(
    command, scene_folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def fit(source: object, annotator: Annotator, *_: object, **__: object) -> Calibration:
        found.append(annotator.recipe.precision)
        return Calibration(temperature=1.0, pictures=8, accuracy=1.0, nll=(0.0, 0.0), error=(0.0, 0.0))

    monkeypatch.setattr("annotate.jobs.calibrate.calibrate", fit)
    monkeypatch.setattr("annotate.jobs.execution.resolve_precision", {"auto": "bfloat16", "float32": "float32"}.get)
    words = ["calibrate", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint]
    for more in ((), ("--precision", "float32")):
        assert command(*words, *more).exit_code == 0
    assert found == ["bfloat16", "float32"]
