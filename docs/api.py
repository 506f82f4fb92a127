"""What is public? `python -m docs.api` writes docs/api.md from the docstrings of the three packages' public names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, get_origin

PAGE = Path(__file__).with_suffix(".md")
PACKAGES = ("annotate", "storage", "tokenlabel")
OPENING = """# The public names

`make api` writes this page from the docstrings. `help(NAME)` says more: shapes, units, ranges and errors.
What is not listed here may change without notice.
"""


def page() -> str:
    """The whole page, in Markdown."""
    return OPENING + "".join(f"\n{line}\n" for package in PACKAGES for line in _of_package(package))


def _of_package(name: str) -> Iterator[str]:
    package = import_module(name)
    yield f"## {name}"
    yield _first_line(package)
    names = sorted(getattr(package, "__all__", ()), key=str.lower)
    if names:
        yield "\n".join(_entry(each, getattr(package, each)) for each in names)


def _entry(name: str, value: Any) -> str:
    """A bullet: how it is called, the first line of its docstring, and of a class the names of its own methods."""
    if get_origin(value) is not None:  # a name for a type
        return f"- `{name} = {str(value).replace('collections.abc.', '')}`"
    if not callable(value):
        return f"- `{name}`: {_first_line(type(value))}"
    text = f"- `{name}{_signature(value)}`: {_first_line(value)}"
    if isinstance(value, type) and issubclass(value, Enum):
        return f"{text} Members: {', '.join(f'`{member.name}`' for member in value)}."
    methods = _methods(value) if isinstance(value, type) else []
    return f"{text} Methods: {', '.join(f'`{method}`' for method in methods)}." if methods else text


def _first_line(value: Any) -> str:
    """The first line of a docstring, as a sentence."""
    line, _, _ = (inspect.getdoc(value) or "").partition("\n")
    return line if line.endswith((".", "?", "!")) else f"{line}."


def _signature(value: Any) -> str:
    """Parameters with their defaults, and what a function returns; nothing where a class takes what its base takes."""
    if isinstance(value, type) and (issubclass(value, Enum | BaseException) or getattr(value, "_is_protocol", False)):
        return ""
    signature = inspect.signature(value)
    parameters = [
        each.replace(annotation=each.empty, default=each.empty if each.default is each.empty else _Shown(each.default))
        for each in signature.parameters.values()
        if not each.name.startswith("_")
    ]
    returned = "" if isinstance(value, type) else _name(signature.return_annotation)
    return f"{signature.replace(parameters=parameters, return_annotation=signature.empty)}{returned}"


def _name(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return "" if text in ("", "_empty", "None") else f" -> {text}"


class _Shown:
    """A default as it is written in a program, and not as its address in memory."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        value = self._value
        if isinstance(value, Enum):
            return str(value)
        if isinstance(value, float):
            return f"{value:.4g}"
        if isinstance(value, tuple):
            return f"({', '.join(repr(_Shown(each)) for each in value)})"
        if callable(value):
            name = getattr(value, "__name__", "<")
            return "…" if "<" in name else name
        return "…" if " at 0x" in repr(value) or "factory" in repr(value) else repr(value)


def _methods(kind: type) -> list[str]:
    """The public methods and properties of a class, its own and those of our classes that it inherits, by name."""
    ours = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in PACKAGES]
    fields = {*getattr(kind, "__dataclass_fields__", ())}
    return sorted(
        {
            name
            for base in ours
            for name, value in vars(base).items()
            if not name.startswith("_")
            and name not in fields
            and (inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod))
        }
    )


if __name__ == "__main__":
    PAGE.write_text(page())
