"""Are fitted settings written where they are asked for?"""

from __future__ import annotations

from pathlib import Path

from tests.annotate.commands.conftest import MODEL


def test_settings_that_cannot_be_written_are_one_message(
    command, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["calibrate", scene_folder / "images/val", *MODEL, "--checkpoint", checkpoint, "--count", 8]
    result = command(*words, "-o", tmp_path / "no" / "a.toml")
    assert (result.exit_code, "cannot write" in result.stderr) == (1, True), result.output
    assert command(*words, "-o", tmp_path / "a.toml").stdout.endswith("give it to `annotate run` with --config\n")
    assert "temperature" in (tmp_path / "a.toml").read_text()
