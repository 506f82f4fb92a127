"""Does a terminal show pictures if it can, and only then?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from annotate.inspect import (
    half_blocks,
)


def test_a_terminal_shows_two_pixels_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    picture = Image.new("RGB", (4, 4), (255, 0, 0))
    picture.paste((0, 0, 255), (0, 2, 4, 4))
    lines = half_blocks(picture, columns=4).splitlines()
    assert lines[0] == "\x1b[38;2;255;0;0;48;2;255;0;0m▀" * 4 + "\x1b[0m"
    assert lines[1] == "\x1b[38;2;0;0;255;48;2;0;0;255m▀" * 4 + "\x1b[0m"
    monkeypatch.setenv("COLORTERM", "")  # then the nearest of 216 colours
    assert half_blocks(picture, columns=4).splitlines()[0] == "\x1b[38;5;196;48;5;196m▀" * 4 + "\x1b[0m"


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_pictures_are_shown_in_terminals_that_show_colours(
    finished: Path, scene_folder: Path, terminal: bool, no_color: str, coloured: bool
) -> None:
    """A real terminal, or none."""
    words = [sys.executable, "-m", "cli", "inspect", str(finished), "--images", str(scene_folder / "images/val")]
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color, "COLORTERM": "", "COLUMNS": "80"}
    if terminal:
        leader, follower = os.openpty()
        process = subprocess.Popen(words, stdout=follower, stderr=subprocess.DEVNULL, env=environment)
        os.close(follower)
        text = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # how Linux says that nobody holds the other end
                break
            if not part:
                break
            text += part
        assert process.wait() == 0
        os.close(leader)
    else:
        text = subprocess.run(words, capture_output=True, env=environment, check=True).stdout
    assert (b"\x1b[38;5;" in text) == coloured
    assert b"agreement" in text
