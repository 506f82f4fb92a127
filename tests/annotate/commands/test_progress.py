"""Does a terminal show how far a run is?"""

from __future__ import annotations

import io
import sys

import pytest

from annotate.commands.progress import reporting
from storage import Progress


def test_a_terminal_gets_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with reporting("labelling", workers=lambda: 3) as reporter:
        reporter.report(Progress(29, 30, 0))
        reporter.say("a sentence")
        reporter.report(Progress(30, 30, 1))
    text = terminal.getvalue()
    assert "97%" in text
    assert "30/30" in text
    assert "workers=3" in text
    assert "failed=1" in text
    assert "a sentence" in text
