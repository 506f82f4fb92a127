"""Do the examples in the docstrings of what `storage` exports hold?"""

from __future__ import annotations

from types import ModuleType

import pytest

import storage
from tests.doctests import run_doctests


def wrong() -> int:
    """One.

    Examples:
        >>> wrong()
        2
    """
    return 1


def bare() -> None:
    """No example."""


def test_the_examples_of_storage_hold() -> None:
    assert run_doctests(storage) >= 20


def test_an_example_that_does_not_hold_is_reported() -> None:
    with pytest.raises(AssertionError, match=r"Failed example:\s+wrong\(\)\s+Expected:\s+2\s+Got:\s+1"):
        run_doctests(_package(wrong=wrong))


def test_a_public_function_without_an_example_is_named() -> None:
    with pytest.raises(AssertionError, match="exports functions without an example: bare"):
        run_doctests(_package(bare=bare))


def _package(**names: object) -> ModuleType:
    package = ModuleType("package")
    vars(package).update(names, __all__=list(names))
    return package
