"""Does the benchmark of retrieval measure, resume, and write its table?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.tokenlabel import retrieval
from tokenlabel.retrieval import retrieval_scores


def test_runs_are_measured_once_and_shown_with_paired_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, single_threaded: None
) -> None:
    lines, page = tmp_path / "runs.jsonl", tmp_path / "page.md"
    found = retrieval.run(lines, 2, steps=2)
    assert [(line["koleo"], line["seed"]) for line in found] == [
        (weight, seed) for seed in (0, 1) for weight in (None, 0.0, 0.3, 0.7, 1.0)
    ]
    assert len({line["log_distance"] for line in found}) == 10
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:9]))
    again = retrieval.run(lines, 2, steps=2)
    assert again == found  # the last was measured again, and is the same
    monkeypatch.setattr(retrieval, "measure", lambda *_: pytest.fail("a finished run was repeated"))
    assert retrieval.run(lines, 2, steps=2) == found
    page.write_text(f"before\n{retrieval.BEGIN}\nold\n{retrieval.END}\nafter\n")
    retrieval.write(page, retrieval.describe_runs(found))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("±") == 6
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lacks the marks of its table"):
        retrieval.write(page, "")


def test_pixels_alone_are_searched_over_the_same_classes() -> None:
    pixels, classes = retrieval.digits()
    assert (len(pixels), float(pixels.min()), float(pixels.max())) == (1797, -1, 1)
    everything = retrieval_scores(torch.nn.functional.normalize(pixels.flatten(1), dim=1), classes, ks=(1,))
    assert retrieval.pixels_alone()["recall"] > everything.recall[1] - 0.02  # among five classes rather than ten
