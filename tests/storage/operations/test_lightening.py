"""Is a light store one of the same format, with the labels that it says, and never mixed with others?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage import (
    Box,
    LabelMap,
    LabelStore,
    Lightness,
    MismatchError,
    Progress,
    Status,
    StoreError,
    create_store,
    lighten,
    open_store,
    verify,
)
from storage.encoding import scores
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


def test_a_light_store_has_fewer_classes_locations_and_codes(full: LabelStore, tmp_path: Path) -> None:
    told: list[Progress] = []
    kept = Lightness(k=2, coarse=8, grid=(3, 4))
    light = lighten(full, str(tmp_path / "light.zarr"), kept, on_progress=told.append)
    assert (light.pictures, light.lightened_now, light.pending) == (10, 10, 0)
    assert [each.done for each in told] == [0, 4, 8, 10]
    found = open_store(light.address)
    assert (found.schema.grid, found.schema.k) == ((3, 4), 2)
    assert verify(found, deep=True).state == "ok"
    labels, source = found.read(range(10)), full.read(range(10))
    assert labels.classes.shape == (10, 3, 4, 2)
    assert (labels.boxes == source.boxes).all()
    assert (labels.sizes == source.sizes).all()
    assert found.targets.tolist() == full.targets.tolist()
    codes = found.backend.fetch([divmod(row, 4) for row in range(10)]).scores
    assert (codes % scores.FLAG % 8 == 0).all()
    assert lighten(full, light.address, kept).lightened_now == 0


def test_the_classes_that_are_kept_have_their_probabilities_and_the_others_are_the_remainder(
    full: LabelStore, tmp_path: Path
) -> None:
    found = open_store(lighten(full, str(tmp_path / "light.h5"), Lightness(k=1)).address).read(range(10))
    source = full.read(range(10))
    assert (found.classes[..., 0] == source.classes[..., 0]).all()
    np.testing.assert_allclose(found.scores[..., 0], source.scores[..., 0], atol=0.01)
    assert found.remainder.mean() > source.remainder.mean()


def test_the_provenance_says_what_was_dropped_and_the_recipe_what_was_done(full: LabelStore, tmp_path: Path) -> None:
    light = open_store(lighten(full, str(tmp_path / "a.zarr"), Lightness(coarse=4)).address)
    lighter = open_store(lighten(light, str(tmp_path / "b.zarr"), Lightness(k=2, grid=(3, 5))).address).schema
    assert lighter.recipe["light"] == [{"k": 3, "coarse": 4, "grid": [6, 5]}, {"k": 2, "coarse": 1, "grid": [3, 5]}]
    assert [each["what"] for each in lighter.provenance["light_from"]] == [
        "codes of probabilities were rounded to multiples of 4",
        "the grid of 6 x 5 was averaged by area; of 3 classes the best 2 were kept",
    ]
    assert lighter.recipe["model"] == "resnet50"


def test_labels_of_another_lightness_never_mix(full: LabelStore, tmp_path: Path) -> None:
    address = str(tmp_path / "light.zarr")
    lighten(full, address, Lightness(coarse=8))
    with pytest.raises(MismatchError, match=r"recipe.light\[0\].coarse: the store has 8, this run has 4"):
        lighten(full, address, Lightness(coarse=4))
    with pytest.raises(MismatchError, match="recipe.light"):
        create_store(address, SCHEMA, KEYS, list(range(10)))


def test_pictures_without_a_label_and_boxes_stay_as_they_are(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 4)
    boxes = np.array([[0.1, 0, 0.9, 1]] * 4, np.float32)
    labels = replace(labels, boxes=boxes)
    missing = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
    source = create_store(tmp_path / "labels.zarr", SCHEMA, KEYS)
    some = LabelMap.stack([labels[0], missing, labels[2], labels[3]])
    source.write(SHARDS[0], some, reasons={1: "the file is gone"}, run={"finished": "2026-02-03", "worker": "a"})
    light = lighten(source, str(tmp_path / "light.zarr"), Lightness(k=2, coarse=8, grid=(2, 2)))
    assert (light.lightened_now, light.pending, light.complete) == (4, 6, False)
    found = open_store(light.address)
    assert found[0].box == Box.from_edges(boxes[0])
    assert found[1].status == Status.MISSING
    record = found.record(0)
    assert record is not None
    assert (record.failures[0].reason, record.run) == ("the file is gone", {"finished": "2026-02-03"})
    assert {report.state for report in verify(found, deep=True).shards} == {"ok", "pending"}


def test_what_cannot_be_made_lighter_is_refused(full: LabelStore, tmp_path: Path) -> None:
    address = str(tmp_path / "light.zarr")
    with pytest.raises(StoreError, match="4 classes at each location are asked for, and it has 3"):
        lighten(full, address, Lightness(k=4))
    with pytest.raises(StoreError, match="a grid of 7 x 5 is asked for, and it has 6 x 5; a finer"):
        lighten(full, address, Lightness(grid=(7, 5)))
    logits = create_store(tmp_path / "l.zarr", replace(SCHEMA, scores="logit", score_type="float16"), KEYS)
    with pytest.raises(StoreError, match="its scores are logits"):
        lighten(logits, address, Lightness(coarse=8))
    with pytest.raises(ValueError, match="nothing is dropped"):
        Lightness()
    assert not Path(address).exists()
