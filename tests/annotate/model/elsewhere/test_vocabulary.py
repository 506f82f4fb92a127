"""Does a file of names become a vocabulary, and is what is wrong with it said?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
        ("Spider-Man\n Spider-Man \n[background]: sky", "has a name twice, .*: Spider-Man"),
        ("traffic light\ntraffic  light\n[background]: sky", "has a name twice, .*: traffic light"),
        ("caf\u00e9\ncafe\u0301\n[background]: sky", "has a name twice, .*: caf\u00e9"),
        ("\u00a0\n\u3000\n[background]: sky", "has no names"),
        (
            "cat\n[Background]: sky",
            r"line 2: '\[Background\]: sky' is no name: .* or \[background\]: or \[templates\]:",
        ),
        ("cat\n[background] sky; wall", r"line 2: '\[background\] sky; wall' is no name"),
        ("cat; dog\n[background]: sky", "line 1: 'cat; dog' is no name: .* has no semicolon; expected NAME, or NAME:"),
        ("cat", "has no background, so that each location would be given to one of its names.*--threshold COSINE"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text(text, encoding="utf-8")
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


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"names": ()}, "has no names"),
        ({"prompts": (("cat",), ("dog",))}, "has 1 names, and prompts of 2"),
        ({"prompts": ((),)}, "the name cat of the vocabulary has no prompt"),
        ({"prompts": ((" ",),)}, "has an empty name, prompt or template"),
        ({"templates": ()}, r"has no templates; leave \[templates\] out"),
        ({"threshold": float("nan")}, "the threshold is a cosine from -1 to 1, or own; not nan"),
    ],
)
def test_what_is_wrong_with_a_vocabulary_of_a_program_is_said(fields: dict[str, Any], why: str) -> None:
    right: dict[str, Any] = {"names": ("cat",), "prompts": (("cat",),), "background": ("sky",)}
    Vocabulary(**right)
    with pytest.raises(AnnotateError, match=why):
        Vocabulary(**right | fields)


def test_comments_may_be_indented_names_may_be_of_any_script_and_a_template_may_say_the_name_twice(
    tmp_path: Path,
) -> None:
    lines = ["  # a comment", "chat noir", "\u732b : \u5bb6\u306e\u732b", "[background]: ciel", "[templates]: {}, a {}"]
    (tmp_path / "names.txt").write_text("\r\n".join(lines), encoding="utf-8")
    found = Vocabulary.read(tmp_path / "names.txt")
    assert found.names == ("chat noir", "\u732b")
    assert found.texts()[:2] == (("chat noir, a chat noir",), ("\u5bb6\u306e\u732b, a \u5bb6\u306e\u732b",))
