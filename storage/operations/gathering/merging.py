"""How do parts of one collection, labelled apart, become one store? Their rows are written as stored, by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import MismatchError, StoreError
from storage.operations.gathering.gather import Gathered, Origins, fetch_rows, gather
from storage.operations.progress import OnProgress, silent
from storage.operations.target import create_target, refuse_own_address
from storage.schema import Schema
from storage.status import Status
from storage.store import LabelStore


def merge(
    sources: Sequence[LabelStore], address: str, *, by_key: bool = True, on_progress: OnProgress = silent
) -> Gathered:
    """Make one store of parts of a collection that were labelled apart; continue where an earlier call ended.

    Where the keys of every part are sorted, as those of folders are, so are those of the new store: it equals the store
    that one run over all pictures would have made, and such a run may continue it. Otherwise the parts follow each
    other. A picture that several parts have gets its row once, from the first part that has a label of it.

    Args:
        sources: the parts, two or more.
        address: where the new store is to be made, or an unfinished one exists.
        by_key: whether sorted parts become a sorted store. Otherwise the parts always follow each other, so that the
            rows of the first keep their numbers.
        on_progress: called at the beginning and after each shard.

    Raises:
        MismatchError: the parts were labelled differently, a picture has two labels, or the store at the address is
            not one of these parts; each difference is named.
        StoreError: fewer than two parts were given, or the address cannot be used.
        DamageError: a part is damaged; what was written before stays.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store, open_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = [create_store(f"{folder}/{n}.zarr", schema, [f"{n}.jpg"]) for n in "ab"]
        ...     merged = merge(parts, f"{folder}/all.zarr")
        ...     list(open_store(merged.address).keys)
        ['a.jpg', 'b.jpg']
    """
    if len(sources) < 2:
        raise StoreError("cannot merge one store: give two or more, which are parts of one collection")
    refuse_own_address(sources, address)
    first = sources[0]
    for other in sources[1:]:
        _refuse_other(first, other)
    keys, origins = _order(sources, by_key)
    targets = _targets(sources, keys, origins)
    target = create_target(address, _schema(sources), keys, targets, made_of="parts")
    return gather(sources, origins, target, on_progress)


def _schema(sources: Sequence[LabelStore]) -> Schema:
    """The schema of the new store: that of the parts, with the largest of their shards, and what each part says.

    What all parts say is said once.
    """
    provenances = [source.schema.provenance for source in sources]
    common = {
        name: value
        for name, value in provenances[0].items()
        if all(name in other and other[name] == value for other in provenances)
    }
    parts = [
        {
            "keys_sha256": source.header.keys_sha256,
            "pictures": len(source),
            **{name: value for name, value in source.schema.provenance.items() if name not in common},
        }
        for source in sources
    ]
    step = max(source.schema.rows_per_shard for source in sources)
    return replace(sources[0].schema, rows_per_shard=step, provenance={**common, "merged_from": parts})


def _refuse_other(first: LabelStore, other: LabelStore) -> None:
    """Check that two parts have one schema, apart from the size of their shards.

    Raises:
        MismatchError: naming each field that differs.
    """
    same = replace(other.schema, rows_per_shard=first.schema.rows_per_shard)
    if found := first.schema.differences(same, mine="the first", theirs="the second"):
        raise _cannot_merge(first, other, found)


def _cannot_merge(first: LabelStore, other: LabelStore, differences: list[str]) -> MismatchError:
    return MismatchError(
        first.address,
        differences,
        opening=f"cannot merge {first.address} and {other.address}: they are not parts of one collection, labelled "
        "with the same settings.",
        advice="Label both with the same settings, or keep them apart.",
    )


def _order(sources: Sequence[LabelStore], by_key: bool) -> tuple[list[str], Origins]:
    """The keys of the new store, and where each row comes from.

    Raises:
        MismatchError: a picture has two labels.
    """
    found: dict[str, tuple[int, int]] = {}
    again: list[tuple[str, int, int]] = []  # pictures that an earlier part has too
    for number, source in enumerate(sources):
        for row, key in enumerate(source.keys):
            if found.setdefault(key, (number, row)) != (number, row):
                again.append((key, number, row))
    status = [source.column("status") for source in sources] if again else []
    for key, number, row in again:
        best = found[key]
        if status[number][row] == Status.LABELLED == status[best[0]][best[1]]:
            _refuse_two_labels(sources, key, best, (number, row))
        elif _worth(status[number][row]) > _worth(status[best[0]][best[1]]):
            found[key] = number, row
    keys = [*found]
    if by_key and all(_is_sorted(source.keys) for source in sources):
        keys.sort()
    places = np.array([found[key] for key in keys], np.int64).reshape(-1, 2)
    return keys, Origins(source=places[:, 0], row=places[:, 1])


def _worth(status: int) -> int:
    """A label is worth more than the reason why there is none, and this more than nothing."""
    return 2 if status == Status.LABELLED else int(status != Status.PENDING)


def _is_sorted(keys: Sequence[str]) -> bool:
    return all(keys[row] < keys[row + 1] for row in range(len(keys) - 1))


def _refuse_two_labels(sources: Sequence[LabelStore], key: str, mine: tuple[int, int], theirs: tuple[int, int]) -> None:
    """Check that two parts have the same label of a picture.

    Raises:
        MismatchError: they do not.
    """
    labels: list[tuple[NDArray[Any], ...]] = [
        fetch_rows(sources[number], np.array([row], np.int64)) for number, row in (mine, theirs)
    ]
    if any(a.tobytes() != b.tobytes() for a, b in zip(*labels, strict=True)):
        first, other = sources[mine[0]], sources[theirs[0]]
        raise _cannot_merge(first, other, [f"labels: both have a label of {key!r}, and the two differ"])


def _targets(sources: Sequence[LabelStore], keys: Sequence[str], origins: Origins) -> NDArray[np.int32]:
    """The dataset's own class of every row of the new store, int32 [rows].

    Raises:
        MismatchError: two parts have different classes for one picture.
    """
    targets = np.full(len(keys), -1, np.int32)
    for number, source in enumerate(sources):
        mine = origins.source == number
        targets[mine] = source.targets[origins.row[mine]]
    if len(keys) == sum(map(len, sources)):
        return targets
    place = {key: row for row, key in enumerate(keys)}
    for source in sources:
        for key, target in zip(source.keys, source.targets.tolist(), strict=True):
            if targets[place[key]] != target:
                raise _cannot_merge(
                    sources[int(origins.source[place[key]])],
                    source,
                    [f"targets: {key!r} is of class {targets[place[key]]} in one and {target} in the other"],
                )
    return targets
