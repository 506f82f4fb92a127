"""What are the classes called? By the names in a file, of ImageNet, or in the store; otherwise by their numbers."""

from __future__ import annotations

import difflib
from collections import defaultdict
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
        """The names of a store's classes, or those in a file or of ImageNet (see `read_names`) if one is given.

        Raises:
            AnnotateError: they cannot be read, or there is not one for each class.
        """
        count = store.schema.class_count
        return cls(count, store.schema.class_names if file is None else read_names(file, count))

    @property
    def known(self) -> tuple[str, ...] | None:
        """All names, or None where they are unknown."""
        return None if self._known is None else tuple(self._known)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._known[number] if self._known is not None else str(number)

    def __repr__(self) -> str:
        """How many classes there are, and the first of them."""
        return f"Names({self._count:,} classes: {', '.join([*self][:3])}{', …' * (self._count > 3)})"

    def short(self, number: int) -> str:
        """The first of the synonyms of a class: "tabby" of "tabby, tabby cat"."""
        name = self[number]
        return name.partition(",")[0].strip() or name

    def matching(self, name: str) -> list[int]:
        """The numbers of the classes with this full name, or where there is none, with this part between commas."""
        return self.matching_each([name])[0]

    def matching_each(self, names: Sequence[str]) -> list[list[int]]:
        """`matching` for each of these names."""
        full, part = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
        for number, known in enumerate(self):
            full[known].append(number)
            # timm names ImageNet's classes by lists of synonyms: "tabby, tabby cat".
            for name in dict.fromkeys(_parts(known)):
                part[name].append(number)
        return [full.get(name) or part.get(name.casefold(), []) for name in names]

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


def read_names(source: Path, count: int | None = None) -> tuple[str, ...]:
    """The names in a text file, one line for each class in the order of their numbers; or those of ImageNet.

    Args:
        source: a file, or "imagenet-1k", "imagenet-12k", "imagenet-21k" or another list of ImageNet's that timm has.
        count: how many classes there are.

    Raises:
        AnnotateError: the file cannot be read, timm does not have the list, or there are not `count` names.
    """
    is_list = source.name == str(source) and source.name.lower().startswith("imagenet") and not source.exists()
    try:
        names = _of_imagenet(source.name) if is_list else tuple(source.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotateError(
            f"cannot read the class names in {source}: {error}; give a text file, or imagenet-1k, imagenet-12k or "
            "imagenet-21k"
        ) from error
    if count is not None and len(names) != count:
        what = f"{len(names):,} names" if is_list else f"{len(names)} lines"
        fitting = f"; timm calls those of {count:,} classes {known}" if (known := _IMAGENET.get(count)) else ""
        raise AnnotateError(
            f"cannot use the class names in {source}: it has {what}, but there are {count} classes; give one "
            f"{'name' if is_list else 'line'} for each{fitting}"
        )
    return names


# By the number of their classes. Two lists are called "21k": timm's own "imagenet-21k" is Google's.
_IMAGENET = {
    1000: "imagenet-1k",
    11221: "imagenet-21k-miil",
    11821: "imagenet-12k",
    21841: "imagenet-22k",
    21842: "imagenet-22k-ms",
    21843: "imagenet-21k",
}


def _of_imagenet(name: str) -> tuple[str, ...]:
    """The names of a list of ImageNet's classes, as timm's networks have them.

    Raises:
        AnnotateError: there is no such list, or timm is not installed.
    """
    try:
        from timm.data import ImageNetInfo
    except ImportError as error:
        raise AnnotateError(f"cannot name classes by {name}: timm is not installed: pip install timm") from error
    if name.lower() not in _IMAGENET.values():
        raise AnnotateError(
            f"cannot name classes by {name!r}: there is neither a file of this name nor a list of ImageNet's "
            f"classes; the lists are {', '.join(_IMAGENET.values())}"
        )
    return tuple(ImageNetInfo(name).label_descriptions())
