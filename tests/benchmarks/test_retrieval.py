"""Does the benchmark of retrieval measure, resume, and write its table?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.tokenlabel import retrieval
from benchmarks.tokenlabel.turned_digits import pictures


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
    monkeypatch.setattr(retrieval, "PAGE", page)
    monkeypatch.setattr(retrieval, "run", lambda *_: found)
    monkeypatch.setattr("sys.argv", ["retrieval"])
    retrieval.main()
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert f"{retrieval.BEGIN}\n\n| " in text
    assert text.count("±") == 16  # four trained rows of four figures


def test_seeds_draw_other_digits_and_runs_of_a_seed_share_their_pictures() -> None:
    (seen, found), classes, trained, _ = retrieval.searched(0)
    again = retrieval.searched(0)
    assert torch.equal(seen, again[0][0])
    assert torch.equal(found, again[0][1])
    assert sorted(trained) != sorted(retrieval.searched(1)[2])
    assert classes.bincount().tolist() == [50] * 20
    assert seen.shape == found.shape == (1000, 1, 12, 12)


def test_a_class_is_a_digit_and_its_quarter_turns() -> None:
    """The mean of many pictures of a class, turned back, is that of the upright digit, and no other digit's."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(8).repeat_interleave(2000)  # 3 and 7 in four turns each
    many = pictures(classes, [3, 7], generator)
    assert not torch.equal(many, pictures(classes, [3, 7], generator))
    means = many.view(2, 4, 2000, 12, 12).mean(2)
    upright = torch.stack([means[:, turns].rot90(-turns, (1, 2)) for turns in range(4)], 1)
    same = (upright - upright[:, :1]).abs().amax()
    assert same < 0.2 < (upright[0] - upright[1]).abs().amax((1, 2)).min()
    assert (means - means[:, :1])[:, 1:].abs().amax((2, 3)).min() > 0.2  # turns do change it


def test_pixels_alone_find_more_than_chance() -> None:
    assert retrieval.pixels_alone(1)["recall"] > 2 * 49 / 999
