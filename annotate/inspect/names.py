"""What are the classes called? As the store says, or a file; and else by their numbers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from annotate.errors import AnnotateError
from storage import LabelStore


class Names(Sequence[str]):
    """The name of each class, which is its number where there is no name."""

    def __init__(self, count: int, known: Sequence[str] | None = None) -> None:
        self._count, self._known = count, known

    @classmethod
    def of(cls, store: LabelStore, file: Path | None = None) -> Names:
        """The names of a store's classes: those in a file, if one is given.

        Raises:
            AnnotateError: the file does not have a line for each class.
        """
        count = store.schema.class_count
        return cls(count, store.schema.class_names if file is None else read_names(file, count))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._known[number] if self._known is not None else str(number)

    def number(self, name: str) -> int:
        """The class of this name, or number.

        Raises:
            AnnotateError: there is none.
        """
        if name.isdecimal() and int(name) < self._count and name not in (self._known or ()):
            return int(name)
        same = [n for n, known in enumerate(self) if known == name]
        # timm's names of ImageNet's classes are lists: "tabby, tabby cat".
        same = same or [n for n, known in enumerate(self) if name.casefold() in _parts(known)]
        if len(same) == 1:
            return same[0]
        if same:
            raise AnnotateError(
                f"{len(same)} classes are called {name!r}: give the number of one of them, {', '.join(map(str, same))}"
            )
        near = difflib.get_close_matches(name, list(self), n=5, cutoff=0.5)
        hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
        raise AnnotateError(f"there is no class {name!r} among the {self._count}{hint}")


def _parts(name: str) -> list[str]:
    return [part.strip().casefold() for part in name.split(",")]


def read_names(file: Path, count: int | None = None) -> tuple[str, ...]:
    """The names in a text file, a line for each class in the order of their numbers.

    Raises:
        AnnotateError: it cannot be read, or has another number of lines.
    """
    try:
        names = tuple(file.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotateError(f"cannot read the class names in {file}: {error}") from error
    if count is not None and len(names) != count:
        raise AnnotateError(f"{file} has {len(names)} lines, but there are {count} classes: give a line for each")
    return names
