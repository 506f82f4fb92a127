"""What are the classes called? By the names in a file or in the store; otherwise by their numbers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from annotate.errors import AnnotateError
from storage import LabelStore


class Names(Sequence[str]):
    """The name of each class; where names are unknown, its number as text."""

    def __init__(self, count: int, known: Sequence[str] | None = None) -> None:
        self._count, self._known = count, known

    @classmethod
    def of(cls, store: LabelStore, file: Path | None = None) -> Names:
        """The names of a store's classes, or those in a file if one is given.

        Raises:
            AnnotateError: the file cannot be read, or does not have one line for each class.
        """
        count = store.schema.class_count
        return cls(count, store.schema.class_names if file is None else read_names(file, count))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._known[number] if self._known is not None else str(number)

    def __repr__(self) -> str:
        """How many classes there are, and the first of them."""
        return f"Names({self._count:,} classes: {', '.join([*self][:3])}{', …' * (self._count > 3)})"

    def matching(self, name: str) -> list[int]:
        """The numbers of the classes with this full name, or where there is none, with this part between commas."""
        same = [n for n, known in enumerate(self) if known == name]
        # timm names ImageNet's classes by lists of synonyms: "tabby, tabby cat".
        return same or [n for n, known in enumerate(self) if name.casefold() in _parts(known)]

    def number(self, name: str) -> int:
        """The number of the class with this name: its full name, a part of it between commas, or the number as text.

        Raises:
            AnnotateError: no class or several have this name.
        """
        if name.isdecimal() and int(name) < self._count and name not in (self._known or ()):
            return int(name)
        same = self.matching(name)
        if len(same) == 1:
            return same[0]
        if same:
            raise AnnotateError(
                f"{len(same)} classes are called {name!r}; give the number of one of them: {', '.join(map(str, same))}"
            )
        near = difflib.get_close_matches(name, list(self), n=5, cutoff=0.5)
        hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
        raise AnnotateError(f"there is no class {name!r} among the {self._count}{hint}")


def _parts(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(",")]


def read_names(file: Path, count: int | None = None) -> tuple[str, ...]:
    """The names in a text file: one line for each class, in the order of their numbers.

    Raises:
        AnnotateError: the file cannot be read, or does not have `count` lines.
    """
    try:
        names = tuple(file.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotateError(f"cannot read the class names in {file}: {error}") from error
    if count is not None and len(names) != count:
        raise AnnotateError(
            f"cannot use the class names in {file}: it has {len(names)} lines, but there are {count} classes; give one "
            "line for each"
        )
    return names
