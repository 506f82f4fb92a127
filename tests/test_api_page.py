"""Is docs/api.md what the docstrings say today?"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from docs.api import PACKAGES, PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `make api`"


def test_no_default_shows_an_address_in_memory() -> None:
    assert " at 0x" not in page()


def test_every_package_is_on_the_page() -> None:
    assert [line.removeprefix("## ") for line in page().splitlines() if line.startswith("## ")] == [*PACKAGES]


@pytest.mark.parametrize("name", PACKAGES)
def test_completion_offers_every_public_name(name: str) -> None:
    """In a fresh interpreter: a name that was used once is there anyway."""
    program = f"import {name}; print(*set({name}.__all__) - set(dir({name})))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_is_imported_from_where_type_checkers_read_it(name: str) -> None:
    """Type checkers read import statements; at run time a table says from where a name is imported."""
    package = import_module(name)
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    written = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert [each for each in package.__all__ if each not in written] == []
    for each in package.__all__:
        assert getattr(package, each) is getattr(import_module(written[each]), each), each


# Mixer and the methods of Warp make these; nobody calls their constructors.
MADE_BY_METHODS = {"Part", "Stage"}


def named_classes(hint: Any) -> Iterator[type]:
    """The classes in an annotation, `X | None` and `list[X]` too."""
    if isinstance(hint, type):
        yield hint
    for inner in get_args(hint):
        yield from named_classes(inner)


def test_every_class_that_a_public_function_or_constructor_takes_or_returns_is_public() -> None:
    exported = [getattr(package, name) for package in map(import_module, PACKAGES) for name in package.__all__]
    hidden: dict[str, str] = {}
    for value in exported:
        if isinstance(value, type):
            value = value.__init__
        function = inspect.unwrap(value) if callable(value) else None
        if not inspect.isfunction(function) or not (function.__module__ or "").startswith(PACKAGES):
            continue
        for hint in get_type_hints(function).values():
            for kind in named_classes(hint):
                if kind.__module__.startswith(PACKAGES) and kind not in exported:
                    hidden[kind.__name__] = function.__qualname__
    assert set(hidden) <= MADE_BY_METHODS, hidden
