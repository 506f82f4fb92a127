"""Do the label trees of other tools come in bit for bit, and is what cannot come in refused?"""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from annotate.errors import AnnotateError
from annotate.exchange import Imported, import_tree
from annotate.exchange.export_tree import export_tree
from annotate.exchange.tree_names import own_name
from annotate.images import open_images
from storage import (
    MismatchError,
    NotAStoreError,
    Progress,
    StoreError,
    open_store,
    verify,
)
from tests.annotate.exchange.collection import TYPES, Collection, a_label, a_picture, save
from tests.conftest import contents


@pytest.mark.parametrize(("layout", "grid"), [("tokenlabeling", (18, 18)), ("relabel", (15, 15))])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_tree_comes_out_of_the_store_as_it_went_in(
    collection: Collection, layout: str, grid: tuple[int, int], zipped: bool
) -> None:
    keys = ["n01/a.JPEG", "n01/b.JPEG", "n02/c.v2.JPEG", "n02/deep/d.JPEG", "n02/e.JPEG"]
    labels = {key: a_label(n, k=5, grid=grid, classes=1000, dtype=TYPES[layout]) for n, key in enumerate(keys)}
    labels["n01/a.JPEG"][0, :, 0, 0] = torch.tensor([3.0, 6e-8, 0.0, -0.0, -2.5])  # also what rounds to nothing
    for key, label in labels.items():
        collection.picture(key)
        save(label, collection.tree / own_name(key), _use_new_zipfile_serialization=zipped)
    summary = collection.bring_in(layout=layout, class_count=1000)
    assert (summary.complete, summary.labelled, summary.failures, summary.left_over) == (True, 5, (), ())
    store = open_store(collection.store)
    assert verify(store, deep=True).state == "ok"
    exported = export_tree(store, collection.root / "again")
    assert (exported.complete, exported.written) == (True, 5)
    for key, label in labels.items():
        again = torch.load(collection.root / "again" / own_name(key))
        assert again.dtype == label.dtype
        assert again.numpy().tobytes() == label.numpy().tobytes()


@pytest.mark.parametrize("layout", TYPES)
def test_rows_columns_and_ranks_stay_what_they_are(collection: Collection, layout: str) -> None:
    label = a_label(dtype=TYPES[layout])
    collection.picture("a.jpg")
    save(label, collection.tree / "a.pt")
    collection.bring_in(layout=layout)
    store = open_store(collection.store)
    assert (store.schema.grid, store.schema.k, store.schema.scores) == ((4, 6), 3, "logit")
    assert store.schema.score_dtype == store.read([0]).scores.dtype == label.numpy().dtype
    for rank, y, x in np.ndindex(3, 4, 6):
        assert store.read([0]).scores[0, y, x, rank] == label[0, rank, y, x]
        assert store.read([0]).classes[0, y, x, rank] == label[1, rank, y, x]


def test_more_classes_than_uint16_can_number_come_in(collection: Collection) -> None:
    label = a_label(dtype=torch.float32)
    label[1] += 70_000
    collection.picture("a.jpg")
    save(label, collection.tree / "a.pt")
    collection.bring_in(layout="relabel", class_count=80_000)
    assert open_store(collection.store).read([0]).classes.min() >= 70_000


def test_squash_covers_the_whole_picture_and_center_its_centre_square(collection: Collection) -> None:
    for name, size in {"wide": (40, 20), "tall": (20, 80), "square": (30, 30)}.items():
        a_picture(collection.images / f"{name}.jpg", size)
        save(a_label(grid=(4, 4)), collection.tree / f"{name}.pt")
    collection.bring_in(geometry="center")
    store = open_store(collection.store)
    boxes = dict(zip(store.keys, store.column("boxes").tolist(), strict=True))
    assert boxes["square.jpg"] == [0, 0, 1, 1]
    assert boxes["wide.jpg"] == [0, 0.25, 1, 0.75]
    assert boxes["tall.jpg"] == [0.375, 0, 0.625, 1]
    sizes = dict(zip(store.keys, store.column("sizes").tolist(), strict=True))
    assert sizes == {"square.jpg": [30, 30], "wide.jpg": [20, 40], "tall.jpg": [80, 20]}

    collection.store = collection.root / "squash.zarr"
    collection.bring_in(geometry="squash")
    store = open_store(collection.store)
    assert store.column("boxes").tolist() == [[0, 0, 1, 1]] * 3
    assert store.column("sizes").tolist() == [[30, 30], [80, 20], [20, 40]]


def test_center_needs_a_square_grid(collection: Collection) -> None:
    collection.labelled("a.jpg", grid=(4, 6))
    with pytest.raises(AnnotateError, match=r'a\.pt has a grid of 4x6, but "center" .* centre square'):
        collection.bring_in(geometry="center")


def test_pictures_may_lie_in_any_kind_of_collection(collection: Collection) -> None:
    collection.labelled("cat/a.jpg", "cat/b.jpg")
    with tarfile.open(collection.root / "pictures.tar", "w") as archive:
        archive.add(collection.images / "cat", "cat")
    source = open_images(collection.root / "pictures.tar")
    summary = import_tree(
        collection.tree, source, str(collection.store), layout="tokenlabeling", geometry="squash", class_count=50
    )
    assert summary.failures == ()
    assert repr(summary) == "Imported(2 of 2 pictures labelled, 2 now)"
    exported = export_tree(open_store(collection.store), collection.root / "again")
    assert repr(exported) == "Exported(2 files of 2 pictures)"


def test_the_pixels_of_a_picture_are_not_needed(collection: Collection) -> None:
    collection.labelled("a.jpg")
    path = collection.images / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[:1000])
    assert collection.bring_in().complete
    assert open_store(collection.store).column("sizes").tolist() == [[90, 70]]


def test_the_store_says_where_its_labels_come_from_and_no_more(collection: Collection) -> None:
    collection.labelled("cat/a.jpg", "dog/b.jpg")
    collection.bring_in()
    store = open_store(collection.store)
    assert store.schema.recipe == {"imported": "tokenlabeling", "geometry": "squash"}
    assert store.schema.provenance["tree"] == "tree"
    assert store.schema.target_names == ("cat", "dog")
    assert store.targets.tolist() == [0, 1]
    written = b"".join(path.read_bytes() for path in collection.store.rglob("*") if path.is_file())
    assert str(collection.root).encode() not in written


def test_running_again_does_nothing_and_after_a_lost_record_only_that_shard(one_wrong: Collection) -> None:
    first = one_wrong.bring_in()
    assert (first.imported_now, first.labelled, first.pictures, first.complete) == (4, 4, 5, False)
    before = contents(one_wrong.store)
    again = one_wrong.bring_in(rows_per_shard=None)
    assert (again.imported_now, again.labelled, again.failures) == (0, 4, first.failures)
    (one_wrong.store / "shards/record/c/0").unlink()
    for name in "de":  # of other shards: they are not read again
        (one_wrong.tree / f"cat/{name}.pt").unlink()
    assert one_wrong.bring_in().imported_now == 2
    assert contents(one_wrong.store) == before


def test_progress_is_reported_from_nothing_to_all(one_wrong: Collection) -> None:
    reported: list[Progress] = []
    one_wrong.bring_in(on_progress=reported.append)
    assert [(progress.done, progress.total, progress.failed) for progress in reported] == [
        (0, 5, 0),
        (2, 5, 0),
        (4, 5, 1),
        (5, 5, 1),
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"geometry": "center"}, "recipe.geometry"),
        ({"class_count": 60}, "class_count"),
        ({"rows_per_shard": 3}, "rows_per_shard"),
    ],
)
def test_a_store_that_was_made_differently_is_refused(
    collection: Collection, change: dict[str, object], named: str
) -> None:
    collection.labelled("a.jpg", "b.jpg", grid=(4, 4))
    collection.bring_in()
    before = contents(collection.store)
    with pytest.raises(MismatchError, match=named):
        collection.bring_in(**change)
    assert contents(collection.store) == before


def test_a_tree_of_another_grid_is_refused_by_the_store_that_is_there(collection: Collection) -> None:
    collection.labelled("a.jpg")
    collection.bring_in()
    save(a_label(k=2), collection.tree / "a.pt")
    with pytest.raises(MismatchError, match="k: the store has 3, this run has 2"):
        collection.bring_in()


def test_an_address_with_something_else_is_refused(collection: Collection) -> None:
    collection.labelled("a.jpg")
    collection.store = collection.tree
    with pytest.raises(NotAStoreError, match="not empty and not a store"):
        collection.bring_in()


def test_few_pictures_make_small_shards(collection: Collection) -> None:
    collection.labelled(*(f"{n:02}.jpg" for n in range(50)), grid=(1, 2))
    collection.bring_in(rows_per_shard=None)
    assert open_store(collection.store).schema.rows_per_shard == 50 // 16


def test_more_classes_than_the_files_can_number_are_refused(collection: Collection) -> None:
    collection.labelled("a.jpg")
    assert collection.bring_in(class_count=2048).complete
    with pytest.raises(AnnotateError, match=r"2,049 classes do not fit .* float16 .* whole numbers only up to 2,048"):
        collection.bring_in(class_count=2049)


def test_a_tree_that_is_not_there_is_refused(collection: Collection) -> None:
    collection.labelled("a.jpg")
    collection.tree = collection.tree / "a.pt"
    with pytest.raises(AnnotateError, match=r"there is no folder of label files at .*a\.pt"):
        collection.bring_in()


def test_a_tree_without_any_label_is_refused_and_no_store_is_made(collection: Collection) -> None:
    collection.picture("a.jpg", "b.jpg", "c.jpg")
    save(a_label(dtype=torch.float32), collection.tree / "b.pt")
    with pytest.raises(AnnotateError) as caught:
        collection.bring_in()
    assert "cannot import tree: no float16 label of any of 3 pictures was found there." in str(caught.value)
    assert "- a.jpg: there is no label file a.pt" in str(caught.value)
    assert "- b.jpg: b.pt holds float32 [2, 3, 4, 6], where float16" in str(caught.value)
    assert "its layout: tokenlabeling (float16) or relabel (float32)" in str(caught.value)
    assert not collection.store.exists()


def test_an_unknown_layout_or_geometry_is_refused(collection: Collection) -> None:
    collection.labelled("a.jpg")
    for options in ({"layout": "fkd"}, {"geometry": "letterbox"}):
        with pytest.raises(AnnotateError, match=next(iter(options.values()))):
            collection.bring_in(**options)


def test_the_summary_is_for_people_and_programs(one_wrong: Collection) -> None:
    summary = one_wrong.bring_in()
    text = summary.describe()
    assert text.startswith("imported 4 labels in ")
    assert "4 of 5 pictures are labelled\n1 pictures have no label:\n  cat/c.jpg: missing, there is no label" in text
    assert json.loads(json.dumps(summary.to_json()))["failures"] == [
        {"key": "cat/c.jpg", "status": "missing", "reason": "there is no label file cat/c.pt"}
    ]
    assert one_wrong.bring_in().describe().startswith("there was nothing left to import\n")
    many = Imported(
        pictures=30,
        labelled=0,
        failures=tuple((f"\x1b[2J{n}", "missing", "gone") for n in range(30)),
        left_over=(),
        imported_now=0,
        seconds=1.0,
    )
    assert "\x1b" not in many.describe()
    assert many.describe().endswith("  … and 10 more; --json lists all")


def test_a_store_error_is_what_a_bad_address_gives(collection: Collection) -> None:
    collection.labelled("a.jpg")
    collection.store = collection.tree / "a.pt"
    with pytest.raises(StoreError):
        collection.bring_in()
