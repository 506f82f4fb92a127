"""Are alternatives compared fairly, and their figures shown?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import __main__
from benchmarks.rounds import Timing, take_turns
from benchmarks.storage import size
from demo.markdown import section


def test_alternatives_take_turns_and_the_first_round_does_not_count() -> None:
    called: list[str] = []
    timings = take_turns(
        {name: lambda rows, name=name: called.append(name) for name in "ab"}, lambda: np.arange(3), rounds=2, of="turns"
    )
    assert "".join(called) == "abbaab"
    assert [len(timing.seconds) for timing in timings] == [2, 2]


def test_a_ratio_is_of_rounds_not_of_medians() -> None:
    """A slow minute slows both."""
    ours, peer = Timing("ours", np.array([1.0, 10.0, 2.0])), Timing("peer", np.array([4.0, 40.0, 8.0]))
    assert str(ours.rate_against(peer)) == "4.0 (4.0 to 4.0)"
    assert str(peer.rate_against(ours)) == "0.25 (0.25 to 0.25)"


def test_a_table_aligns() -> None:
    assert section("Title", ["", "bytes"], [["one", "1"], ["other", "1,000"]], "A note.") == (
        "## Title\n\n|       | bytes |\n| :---- | ----: |\n| one   |     1 |\n| other | 1,000 |\n\nA note.\n"
    )


def test_the_command_runs_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__main__.BENCHMARKS, "size", lambda folder: size.measure(folder, 4))
    result = CliRunner().invoke(
        __main__.main, ["size", "--json", str(tmp_path / "figures.json")], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "Size of 4 reference maps" in result.stdout
    assert list(json.loads((tmp_path / "figures.json").read_text())) == ["size"]
    assert CliRunner().invoke(__main__.main, ["nothing"]).exit_code == 2
