"""Do parts of a collection that were labelled apart become the store that one run would have made?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage import (
    LabelMap,
    LabelStore,
    MismatchError,
    Progress,
    Status,
    StoreError,
    create_store,
    merge,
    open_store,
    verify,
)
from tests.conftest import contents
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA

SORTED = sorted(KEYS)


def part(address: Path, keys: list[str], labels: LabelMap, *, step: int = 4, **changed: object) -> LabelStore:
    """A finished store of these keys, whose targets are their places among all."""
    schema = replace(SCHEMA, rows_per_shard=step, **changed)  # type: ignore[arg-type]
    store = create_store(address, schema, keys, [SORTED.index(key) for key in keys])
    for rows in store.shards():
        mine = labels[rows.start : rows.stop]
        failed = {row: "empty" for row, status in zip(rows, mine.status.tolist(), strict=True) if status}
        store.write(rows, mine, reasons=failed, run={"finished": f"2026-01-0{step}"})
    return store


@pytest.fixture
def labels() -> LabelMap:
    """Of the sorted keys; the third picture has none."""
    found = random_labels(np.random.default_rng(0), 10)
    missing = LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)
    return LabelMap.stack([missing if row == 2 else found[row] for row in range(10)])


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_parts_of_a_folder_become_the_store_of_one_run_over_all(labels: LabelMap, tmp_path: Path, suffix: str) -> None:
    whole = part(tmp_path / "whole.zarr", SORTED, labels)
    even = part(tmp_path / f"even.{suffix}", SORTED[::2], labels[::2], provenance={"software": 1, "host": "a"})
    odd = part(tmp_path / "odd.h5", SORTED[1::2], labels[1::2], step=3, provenance={"software": 1, "host": "b"})
    told: list[Progress] = []
    merged = merge([odd, even], str(tmp_path / f"all.{suffix}"), on_progress=told.append)
    assert (merged.pictures, merged.gathered_now, merged.pending, merged.complete) == (10, 10, 0, True)
    assert [each.done for each in told] == [0, 4, 8, 10]
    found = open_store(merged.address)
    assert list(found.keys) == SORTED
    assert found.targets.tolist() == [*range(10)]
    assert verify(found, deep=True).state == "ok"
    assert [record.failures for _, record in found.records() if record] == [
        record.failures for _, record in whole.records() if record
    ]
    if suffix == "zarr":
        ours, theirs = contents(tmp_path / "all.zarr"), contents(tmp_path / "whole.zarr")
        assert {name: data for name, data in ours.items() if name[:5] in ("class", "score")} == {
            name: data for name, data in theirs.items() if name[:5] in ("class", "score")
        }
    about = found.schema.provenance
    assert about["software"] == 1
    assert [(each["pictures"], each["host"]) for each in about["merged_from"]] == [(5, "b"), (5, "a")]
    assert [record.run for _, record in found.records() if record] == [{"finished": "2026-01-04"}] * 3
    assert merge([odd, even], merged.address).gathered_now == 0


def test_what_is_pending_in_a_part_is_pending_until_it_is_labelled(labels: LabelMap, tmp_path: Path) -> None:
    first = part(tmp_path / "a.zarr", SORTED[:5], labels[:5])
    rest = create_store(tmp_path / "b.zarr", SCHEMA, SORTED[5:], [*range(5, 10)])
    merged = merge([first, rest], str(tmp_path / "all.zarr"))
    assert (merged.gathered_now, merged.pending, merged.complete) == (4, 6, False)
    assert "6 pictures are pending" in merged.describe()
    for rows in rest.shards():
        rest.write(rows, labels[5 + rows.start : 5 + rows.stop])
    merged = merge([first, rest], merged.address)
    assert (merged.gathered_now, merged.pending) == (6, 0)
    found = open_store(merged.address).read(range(5, 10))
    assert (found.classes == rest.read(range(5)).classes).all()


def test_a_picture_of_two_parts_gets_the_label_that_one_has(labels: LabelMap, tmp_path: Path) -> None:
    first = part(tmp_path / "a.zarr", SORTED[:6], labels[:6])
    other = random_labels(np.random.default_rng(1), 10)
    mended = LabelMap.stack([other[2] if row == 2 else labels[row] for row in range(2, 10)])
    second = part(tmp_path / "b.zarr", SORTED[2:], mended)
    found = open_store(merge([first, second], str(tmp_path / "all.zarr")).address)
    assert len(found) == 10
    assert (found[2].classes == other[2].classes).mean() > 0.9
    assert (found[5].classes == open_store(first.address)[5].classes).all()


def test_two_labels_of_a_picture_that_differ_are_refused(labels: LabelMap, tmp_path: Path) -> None:
    first = part(tmp_path / "a.zarr", SORTED[:6], labels[:6])
    second = part(tmp_path / "b.zarr", SORTED[5:], random_labels(np.random.default_rng(1), 5))
    with pytest.raises(MismatchError, match=r"labels: both have a label of 'class .*', and the two differ"):
        merge([first, second], str(tmp_path / "all.zarr"))
    assert not (tmp_path / "all.zarr").exists()


def test_parts_of_other_settings_are_refused_with_each_difference(labels: LabelMap, tmp_path: Path) -> None:
    first = part(tmp_path / "a.zarr", SORTED[:5], labels[:5])
    second = part(
        tmp_path / "b.zarr", SORTED[5:], labels[5:], recipe={"model": "vit", "input_size": [96, 80]}, class_count=41
    )
    with pytest.raises(MismatchError) as error:
        merge([first, second], str(tmp_path / "all.zarr"))
    assert error.value.differences == (
        "class_count: the first has 40, the second has 41",
        'recipe.model: the first has "resnet50", the second has "vit"',
    )
    assert "cannot merge" in str(error.value)
    assert not (tmp_path / "all.zarr").exists()


def test_a_picture_of_two_classes_one_part_alone_and_an_address_inside_a_part_are_refused(
    labels: LabelMap, tmp_path: Path
) -> None:
    first = part(tmp_path / "a.zarr", SORTED[:5], labels[:5])
    wrong = create_store(tmp_path / "b.zarr", SCHEMA, SORTED[4:], [0] * 6)
    with pytest.raises(MismatchError, match=r"targets: '.*' is of class 4 in one and 0 in the other"):
        merge([first, wrong], str(tmp_path / "all.zarr"))
    with pytest.raises(StoreError, match="two or more"):
        merge([first], str(tmp_path / "all.zarr"))
    with pytest.raises(StoreError, match="inside the store"):
        merge([first, wrong], f"{first.address}/all.zarr")
