"""Do the examples in a package's docstrings give what they say? Every public function must have one."""

from __future__ import annotations

import doctest
import inspect
import io
from types import ModuleType
from typing import Any


def run_doctests(package: ModuleType) -> int:
    """Run the examples of everything that a package exports, and return how many there are.

    Args:
        package: with `__all__`. What it exports is looked up by name, so that lazy packages work too.

    Raises:
        AssertionError: an example gives something else, with doctest's report; or a public function has none.
    """
    finder, report, ran = doctest.DocTestFinder(), io.StringIO(), 0
    without: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for name in package.__all__:
        exported: Any = getattr(package, name)
        if not (inspect.isclass(exported) or inspect.isroutine(exported)):
            continue
        # Found with the names of the module that defines it, as its readers see them.
        module = inspect.getmodule(exported)
        tests = finder.find(exported, name, module=module)
        examples = sum(len(test.examples) for test in tests)
        if inspect.isroutine(exported) and not examples:
            without.append(name)
        for test in tests:
            runner.run(test, out=report.write)
        ran += examples
    assert not without, f"{package.__name__} exports functions without an example: {', '.join(without)}"
    assert not runner.failures, report.getvalue()
    return ran
