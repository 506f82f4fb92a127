"""Do errors name a page that explains them, and are the page and its heading there?"""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from storage import DamageError, NotLabelledError
from storage.errors import explained
from tests.test_shape import PACKAGES, ROOT, files


def pages() -> dict[str, str]:
    """Every page that the code names, and where."""
    found = {}
    for path in files(ROOT, PACKAGES):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "explained":
                    page = node.args[1]
                    assert isinstance(page, ast.Constant), f"{path}: the page must be written out"
                    found[str(page.value)] = str(path)
    return found


def headings(page: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


def test_every_page_that_an_error_names_is_there_with_its_heading() -> None:
    named = pages()
    assert len(named) >= 7
    for page, where in named.items():
        name, _, heading = page.partition("#")
        assert (ROOT / "docs" / name).is_file(), f"{where} names {page}"
        assert not heading or heading in headings(ROOT / "docs" / name), f"{where} names {page}"


def test_the_command_shows_the_page_last(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", str(tmp_path), str(tmp_path / "labels.zarr"), "--model", "test_resnet"])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "docs/sources.md explains it"


@pytest.mark.parametrize("kind", [DamageError, NotLabelledError])
def test_an_error_that_crosses_processes_keeps_its_page_once(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("what was found")))
    assert (str(error), len(error.__notes__)) == ("what was found", 1)


def test_a_page_is_a_note_and_leaves_the_message_alone() -> None:
    error = explained(ValueError("no"), "label.md")
    assert (str(error), error.__notes__) == ("no", ["docs/label.md explains it"])
