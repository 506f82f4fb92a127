"""Does a terminal show how far a run is?"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from annotate.commands.progress import following, progress_display
from storage import Progress


def test_a_terminal_gets_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_display("labelling", workers=lambda: 3) as display:
        display.show(Progress(29, 30, 0))
        display.say("a sentence")
        display.show(Progress(30, 30, 1))
    text = terminal.getvalue()
    assert "97%" in text
    assert "30/30" in text
    assert "workers=3" in text
    assert "failed=1" in text
    assert "a sentence" in text


LINES = """
import sys
from annotate.commands.progress import following, progress_display
from storage import Progress
with progress_display("labelling") as display:
    for n in range(1, 31):
        display.say("a sentence")
        display.show(Progress(n, 30, 0))
with following("verifying", 30) as report:
    report(Progress(30, 30, 0))
print("done")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_lines_that_cannot_be_written_end_nothing() -> None:
    """On a full disk, and in a pipe whose reader has ended."""
    reading, writing = os.pipe()
    os.close(reading)
    for log in (open("/dev/full", "w"), os.fdopen(writing, "w")):  # noqa: SIM115 closed below, without a last flush
        result = subprocess.run([sys.executable, "-c", LINES], stdout=subprocess.PIPE, stderr=log, text=True)
        log.close()
        assert (result.returncode, result.stdout) == (0, "done\n")


def test_a_log_has_no_bar(capfd: pytest.CaptureFixture[str]) -> None:
    subprocess.run([sys.executable, "-c", LINES], check=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith('{"time"') for line in lines)


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    with progress_display("labelling") as display:
        display.say("a sentence")
        display.show(Progress(30, 30, 1))
    with following("verifying", 30) as report:
        report(Progress(30, 30, 1))
