"""Are the numbers of labels that somebody else wrote, checksums and all, refused before anything computes with them?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annotate.errors import AnnotateError
from annotate.inspect import survey
from annotate.inspect.survey import areas
from storage import Box, DamageError, LabelMap, LabelStore, Record, StoreError, create_store, open_store, verify
from storage.alignment.region import axis_weights, region_scores
from storage.backend import Backend
from storage.encoding import coded_labels as coding
from storage.encoding.coded_labels import CodedLabels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.hostile.test_forged import forge_header

Change = Callable[[CodedLabels], None]


def _class_beyond(coded: CodedLabels) -> None:
    coded.classes[1, 2, 3, 0] = SCHEMA.class_count


def _probability_without_class(coded: CodedLabels) -> None:
    coded.classes[1, 2, 3, 0] = 2**16 - 1


def _too_probable(coded: CodedLabels) -> None:
    coded.scores[1, 2, 3] = 100


def _unknown_status(coded: CodedLabels) -> None:
    coded.status[1] = 7


def _too_large(coded: CodedLabels) -> None:
    coded.sizes[1] = 4_000_000_000


def _box(*edges: float) -> Change:
    def change(coded: CodedLabels) -> None:
        coded.boxes[1] = edges

    return change


CHANGES = [
    (_class_beyond, "a class id beyond its 40 classes"),
    (_probability_without_class, "a probability without a class"),
    (_too_probable, "probabilities that sum to more than 1"),
    (_unknown_status, "an unknown status"),
    (_too_large, "a picture of more than 68,719,476,736 pixels"),
    (_box(*[np.nan] * 4), "no box, or one without area"),
    (_box(0, 0, np.inf, 1), "no box, or one without area"),
    (_box(0.5, 0, 0.5, 1), "no box, or one without area"),
    (_box(1, 1, 0, 0), "no box, or one without area"),
    (_box(0, 0, 1e-30, 1), "no box, or one without area"),
    (_box(0, 0, 1e30, 1), "no box, or one without area"),
]


def forge(store: LabelStore, labels: LabelMap, change: Change) -> LabelStore:
    """Write the first shard again with changed numbers, whose checksums and record are right."""
    coded = CodedLabels(*(part.copy() for part in coding.encode(labels[:4], store.schema)))
    change(coded)
    store.backend.put(0, coded)
    return open_store(store.address)


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_numbers_that_are_no_label_are_damage_of_their_row(
    full: LabelStore, labels: LabelMap, change: Change, words: str
) -> None:
    store = forge(full, labels, change)
    assert store.backend.checksums(0) == store.record(0).objects
    for read in (lambda: store[1], lambda: store.read([0, 5, 1, 9]), lambda: survey(store)):
        with pytest.raises(DamageError, match=f"row 1 of .* is no label of this store: it has {words}"):
            read()
    assert np.array_equal(store[0].sizes, labels[0].sizes)
    assert len(store.read([0, 2, 3, 4])) == 4
    assert verify(store, deep=True).state == "damaged"


def test_a_column_of_unknown_statuses_is_damage(full: LabelStore, labels: LabelMap) -> None:
    with pytest.raises(DamageError, match="the status of .* has a number that stands for nothing"):
        forge(full, labels, _unknown_status).column("status")


def test_a_column_of_sizes_that_no_picture_has_is_damage(full: LabelStore, labels: LabelMap) -> None:
    with pytest.raises(DamageError, match="the sizes of .* has a picture of more than 68,719,476,736 pixels"):
        forge(full, labels, _too_large).column("sizes")


def test_a_picture_of_ten_gigapixels_is_stored_like_others(full: LabelStore, labels: LabelMap) -> None:
    large = labels[:4]
    large.sizes[1] = 100_000
    full.write(SHARDS[0], large)
    assert open_store(full.address)[1].sizes.tolist() == [100_000, 100_000]
    assert verify(full, deep=True).state == "ok"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("classes", 40, "a class id is 40"), ("boxes", 0.5, "no box"), ("sizes", 2**32 - 1, "more than")],
)
def test_what_no_reader_would_take_for_labels_is_not_written(
    full: LabelStore, labels: LabelMap, name: str, value: float, words: str
) -> None:
    rows, before = SHARDS[0], full[0]
    wrong = labels[:4]
    getattr(wrong, name)[2] = value
    with pytest.raises(StoreError, match=f"cannot write rows 0 to 4 of .*{words}"):
        full.write(rows, wrong)
    assert np.array_equal(full[0].classes, before.classes)


def test_a_box_that_is_a_sliver_takes_no_more_time_or_memory_than_others(labels: LabelMap) -> None:
    """A picture of one column of ten million pixels may have such a box; a forged store has it for every picture."""
    sliver = labels[0]
    sliver.boxes[:] = 0, 0, 2.0**-27, 1
    _, scores, outside = region_scores(sliver, Box(0, 0, 1, 1), (2, 2))
    assert np.isfinite(scores).all()
    assert outside.all()
    weights, _ = axis_weights(0, 5.0 * 2**27, cells=5, tokens=3)
    assert np.allclose(weights.sum(1), [1, 1, 1])


def test_no_memory_is_taken_for_rows_that_only_the_header_has(address: Path) -> None:
    create_store(address, SCHEMA, KEYS)
    forge_header(address, {"rows": 2**26, "schema.rows_per_shard": 2**20})
    store = open_store(address)
    for use in (lambda: store.column("status"), lambda: survey(store), lambda: areas(store, 0)):
        with pytest.raises(DamageError, match="targets"):
            use()


def test_no_memory_is_taken_for_classes_that_only_the_header_has(address: Path) -> None:
    create_store(address, SCHEMA, KEYS)
    forge_header(address, {"schema.class_count": 2**31})
    with pytest.raises(AnnotateError, match="2,147,483,648 classes"):
        survey(open_store(address))


def test_shards_without_a_record_are_not_asked_for_one_by_one(
    address: Path, labels: LabelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header may say that there are millions."""
    store = create_store(address, SCHEMA, KEYS)
    store.write(SHARDS[1], labels[4:8])
    asked, recorded = [], type(store.backend).recorded

    def counted(backend: Backend, shard: int) -> tuple[Record | None, dict[str, str]]:
        asked.append(shard)
        return recorded(backend, shard)

    monkeypatch.setattr(type(store.backend), "recorded", counted)
    assert [report.state for report in verify(open_store(address)).shards] == ["pending", "ok", "pending"]
    assert {*asked} == {1}
