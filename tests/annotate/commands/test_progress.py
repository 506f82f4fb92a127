"""Does a terminal show how far a run is?"""

from __future__ import annotations

import io
import sys

import pytest

from annotate.commands.progress import progress_display
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
