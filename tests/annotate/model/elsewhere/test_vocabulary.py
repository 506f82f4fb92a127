"""Does a file of names become a vocabulary, and is what is wrong with it said?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.errors import AnnotateError
from annotate.model.elsewhere.vocabulary import Vocabulary

FILE = """\
# pets
cat
sofa: sofa; couch

[background]: sky; wall
[templates]: a photo of a {}; {}
"""


def test_a_file_has_names_prompts_templates_and_a_background(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(FILE, encoding="utf-8-sig")
    found = Vocabulary.read(tmp_path / "names.txt")
    assert found.names == ("cat", "sofa")
    assert found.background == ("sky", "wall")
    assert found.texts() == (
        ("a photo of a cat", "cat"),
        ("a photo of a sofa", "sofa", "a photo of a couch", "couch"),
        ("a photo of a sky", "sky"),
        ("a photo of a wall", "wall"),
    )
    assert Vocabulary.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert repr(found) == "Vocabulary(2 names: cat, sofa; background of 2)"


def test_a_threshold_is_a_background_too_and_without_templates_prompts_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("traffic light\n")
    found = Vocabulary.read(tmp_path / "names.txt", 0.2)
    assert (found.texts(), found.threshold) == ((("traffic light",),), 0.2)
    assert Vocabulary.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no names; expected one name a line"),
        ("# only this\n[background]: sky", "has no names"),
        ("cat\ncat\n[background]: sky", "has a name twice, among classes and background: cat"),
        ("cat\nsky\n[background]: sky", "has a name twice, among classes and background: sky"),
        ("cat\n: a cat\n[background]: sky", "line 2: ': a cat' has an empty name or prompt"),
        ("cat: a;;b\n[background]: sky", "line 1: .* has an empty name or prompt"),
        (
            "cat:\n[background]: sky",
            "line 1: 'cat:' has an empty name or prompt; expected NAME, or NAME: PROMPT; PROMPT",
        ),
        ("cat\n[background]: sky; ; wall", "has an empty name, prompt or template"),
        ("cat\n[background]:", r"line 2: \[background\] must be there once, with texts after a colon"),
        ("cat\n[background]: a\n[background]: b", r"line 3: \[background\] must be there once"),
        ("cat\n[background]: sky\n[templates]: a photo", "template 'a photo' .* has no {}"),
        ("cat", "has no background, so that each location would be given to one of its names.*--threshold COSINE"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(text)
    with pytest.raises(AnnotateError, match=f"names.txt.*{why}"):
        Vocabulary.read(file)


def test_a_file_that_is_not_there_or_no_text_and_a_threshold_out_of_range_are_said(tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="cannot read the vocabulary .*names.txt"):
        Vocabulary.read(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00c")
    with pytest.raises(AnnotateError, match="cannot read the vocabulary .*names.txt"):
        Vocabulary.read(tmp_path / "names.txt")
    with pytest.raises(AnnotateError, match="the threshold is a cosine from -1 to 1, or own; not 20"):
        Vocabulary(names=("cat",), prompts=(("cat",),), threshold=20)
