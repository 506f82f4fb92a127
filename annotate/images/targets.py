"""How do the labels of a dataset become class numbers? Numbers stay; names are numbered in sorted order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from annotate.errors import AnnotateError

_LARGEST = 2**31 - 1  # a store keeps targets as int32
_WHOLE = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def as_targets(
    labels: Sequence[int | str | None], position: Callable[[int], str], names: tuple[str, ...] | None = None
) -> tuple[list[int] | None, tuple[str, ...] | None]:
    """The class number of each picture, -1 where it has no label, and the names of the classes.

    One rule holds for all sources, so that no label gets another number in silence. Texts that are all written as whole
    numbers are those numbers. Texts of which none is a number are names. All else is refused: "2.0", or one name among
    numbers.

    Args:
        labels: the label of each picture in order, all numbers or all texts; None where there is no label.
        position: describes where the label of a row was found, for errors.
        names: the names of the classes, if labels are numbers with names.

    Returns:
        The numbers, or None if no picture has a label; and the names, or None if classes have no names.

    Raises:
        AnnotateError: a label is neither a whole number nor a name, both occur, or a number is out of range.
    """
    kinds = {type(label) for label in labels if label is not None}
    if not kinds:
        return None, None
    if kinds == {str} and (numbers := _written_numbers(labels, position)) is not None:
        labels = numbers
    elif kinds == {str}:
        names = tuple(sorted({label for label in labels if isinstance(label, str)}))
        number: dict[int | str | None, int] = {name: index for index, name in enumerate(names)}
        return [number.get(label, -1) for label in labels], names
    largest = _LARGEST if names is None else len(names) - 1
    targets: list[int] = []
    for row, label in enumerate(labels):
        if label is not None and type(label) is not int:
            raise AnnotateError(
                f"{position(row)} has the label {label!r}; labels are whole numbers for all pictures, or names for all"
            )
        targets.append(-1 if label is None else label)
        if not -1 <= targets[-1] <= largest:
            raise AnnotateError(
                f"{position(row)} has the label {label}; classes here are 0 to {largest:,}, and -1 means no class"
            )
    return targets, names


def _written_numbers(labels: Sequence[int | str | None], position: Callable[[int], str]) -> Sequence[int | None] | None:
    """The numbers that all these texts write, or None if none of them writes a number."""
    texts = [(row, label) for row, label in enumerate(labels) if isinstance(label, str)]
    numeric = [_NUMBER.fullmatch(label) is not None for _, label in texts]
    if not any(numeric):
        return None
    others = [row for row, label in texts if not _WHOLE.fullmatch(label)]
    if others:
        row, number = others[0], texts[numeric.index(True)][0]
        contrast = f", and {position(number)} has {labels[number]!r}" if number != row else ""
        raise AnnotateError(
            f"{position(row)} has the label {labels[row]!r}{contrast}; labels are whole numbers for all pictures, such "
            f"as 2 and not 2.0, or names for all, none of which is a number. Correct {len(others):,} labels"
        )
    return [int(label) if isinstance(label, str) else None for label in labels]
