"""How do the labels that come with pictures become numbers? Numbers stay, names are numbered in their sorted order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from annotate.errors import AnnotateError

_LARGEST = 2**31 - 1  # a store keeps targets as int32


def as_targets(
    labels: Sequence[int | str | None], place: Callable[[int], str], names: tuple[str, ...] | None = None
) -> tuple[list[int] | None, tuple[str, ...] | None]:
    """The class number of each picture, -1 where it has none, and the names of the classes.

    Args:
        labels: of each picture, in order: all numbers, or all names; None where there is no label.
        place: says where the label of a picture stands, for errors.
        names: of the classes, where labels are numbers that have names.

    Returns:
        The numbers, or None where no picture has a label; and the names, or None where there are none.

    Raises:
        AnnotateError: a label is neither a whole number nor a name, both occur, or a number cannot be that of a class.
    """
    kinds = {type(label) for label in labels if label is not None}
    if not kinds:
        return None, None
    if kinds == {str}:
        names = tuple(sorted({label for label in labels if isinstance(label, str)}))
        number: dict[int | str | None, int] = {name: index for index, name in enumerate(names)}
        return [number.get(label, -1) for label in labels], names
    largest = _LARGEST if names is None else len(names) - 1
    targets: list[int] = []
    for row, label in enumerate(labels):
        if label is not None and type(label) is not int:
            raise AnnotateError(
                f"{place(row)} has the label {label!r}; labels are whole numbers for all pictures, or names for all"
            )
        targets.append(-1 if label is None else label)
        if not -1 <= targets[-1] <= largest:
            raise AnnotateError(
                f"{place(row)} has the label {label}; classes here are 0 to {largest:,}, and -1 is none"
            )
    return targets, names
