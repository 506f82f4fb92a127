"""Do the label trees of other tools come in and go out bit for bit, and does nothing in them do harm?"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from annotate.errors import AnnotateError
from annotate.images import FolderImages
from annotate.legacy import Imported, export_tree, exporting, import_tree, label_file
from annotate.legacy.names import cut_name, own_name
from storage import (
    DamageError,
    LabelMap,
    LabelStore,
    MismatchError,
    NotAStoreError,
    Progress,
    Schema,
    Status,
    StoreError,
    create_store,
    open_store,
    verify,
)
from storage.labelmap import no_class
from tests.conftest import contents
from tests.labels import random_labels

TYPES = {"tokenlabeling": torch.float16, "relabel": torch.float32}


def a_label(seed: int = 0, *, k: int = 3, grid: tuple[int, int] = (4, 6), classes: int = 50, dtype=torch.float16):
    """[2, k, h, w] as the published generators write it: the best logits of each location, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    logits, ids = (10 * torch.randn(classes, *grid, generator=generator)).topk(k, dim=0)
    return torch.stack([logits, ids.float()]).to(dtype)


def a_picture(path: Path, size: tuple[int, int] = (8, 6)) -> None:
    """A JPEG file of (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 30, 90)).save(path, "JPEG")


def save(label: object, path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(label, path, **options)


class Collection:
    """A folder of pictures, a tree of labels beside it, and a store to import into."""

    def __init__(self, root: Path) -> None:
        self.root, self.images, self.tree, self.store = root, root / "images", root / "tree", root / "labels.zarr"
        self.tree.mkdir()

    def picture(self, *keys: str) -> None:
        for key in keys:
            a_picture(self.images / key)

    def labelled(self, *keys: str, **options: object) -> None:
        """Pictures, each with a label of its own."""
        for key in keys:
            self.picture(key)
            save(a_label(sum(map(ord, key)), **options), self.tree / own_name(key))

    def bring_in(self, **options) -> Imported:
        options = {"layout": "tokenlabeling", "geometry": "squash", "class_count": 50, "rows_per_shard": 2, **options}
        return import_tree(self.tree, FolderImages(self.images), str(self.store), **options)

    def failure(self, **options) -> tuple[str, str]:
        """Status and reason of the one picture that could not be labelled."""
        [(_, status, reason)] = self.bring_in(**options).failures
        return status, reason


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path)


@pytest.fixture
def one_wrong(collection: Collection) -> Collection:
    """Five pictures in three shards; the label file of the third is for the test to spoil."""
    collection.labelled(*(f"cat/{name}.jpg" for name in "abde"))
    collection.picture("cat/c.jpg")
    return collection


def wrong(collection: Collection) -> Path:
    return collection.tree / "cat/c.pt"


# --- what comes in, and goes out again


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


# --- resuming


def test_running_again_does_nothing_and_after_a_lost_record_only_that_shard(one_wrong: Collection) -> None:
    first = one_wrong.bring_in()
    assert (first.imported_now, first.labelled, first.pictures, first.complete) == (4, 4, 5, False)
    before = contents(one_wrong.store)
    again = one_wrong.bring_in(rows_per_shard=None)
    assert (again.imported_now, again.labelled, again.failures) == (0, 4, first.failures)
    (one_wrong.store / "shards/record/c/0").unlink()
    for name in "de":  # of other shards: they are not asked for again
        (one_wrong.tree / f"cat/{name}.pt").unlink()
    assert one_wrong.bring_in().imported_now == 2
    assert contents(one_wrong.store) == before


def test_progress_is_told_from_nothing_to_all(one_wrong: Collection) -> None:
    told: list[Progress] = []
    one_wrong.bring_in(report=told.append)
    assert [(progress.done, progress.total, progress.failed) for progress in told] == [
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


# --- label files that are no labels


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_code_in_a_label_file_is_refused_and_not_run(one_wrong: Collection, how: str, protocol: int) -> None:
    marker = one_wrong.root / "marker"
    evil = Evil(marker)
    if how == "pickle":
        wrong(one_wrong).write_bytes(pickle.dumps(evil, protocol=protocol))
    else:
        save(evil, wrong(one_wrong), _use_new_zipfile_serialization=how == "zip", pickle_protocol=protocol)
    status, reason = one_wrong.failure()
    assert status == "refused"
    assert reason.startswith("cat/c.pt holds code or types that a label does not need")
    assert not marker.exists()
    torch.load(wrong(one_wrong), weights_only=False) if how != "pickle" else pickle.loads(wrong(one_wrong).read_bytes())
    assert marker.exists(), "this test could not have failed"


def test_a_type_that_no_label_needs_is_named(one_wrong: Collection) -> None:
    save(a_label().numpy(), wrong(one_wrong))
    status, reason = one_wrong.failure()
    assert status == "refused"
    assert "(numpy" in reason
    assert len(reason) < 200


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_a_label_file_that_is_cut_short_is_named(one_wrong: Collection, zipped: bool, part: float) -> None:
    save(a_label(), wrong(one_wrong), _use_new_zipfile_serialization=zipped)
    data = wrong(one_wrong).read_bytes()
    wrong(one_wrong).write_bytes(data[: int(part * len(data))])
    status, reason = one_wrong.failure()
    assert status == "undecodable"
    assert reason.startswith("cat/c.pt is ")
    assert len(reason) < 200


def test_bytes_that_are_something_else_are_named(one_wrong: Collection) -> None:
    a_picture(wrong(one_wrong))
    assert one_wrong.failure() == ("undecodable", "cat/c.pt is not a file that torch.save wrote")


def test_a_bit_that_has_changed_on_its_way_is_noticed(one_wrong: Collection) -> None:
    """torch.load itself would not notice."""
    label = a_label()
    save(label, wrong(one_wrong))
    data = bytearray(wrong(one_wrong).read_bytes())
    data[data.find(label.numpy().tobytes())] ^= 1
    wrong(one_wrong).write_bytes(data)
    assert not torch.equal(torch.load(wrong(one_wrong)), label)
    assert one_wrong.failure() == ("undecodable", "cat/c.pt is damaged: its bytes fail their own CRC-32")


def _with(label: torch.Tensor, place: tuple[int, ...], value: float) -> torch.Tensor:
    label = label.clone()
    label[place] = value
    return label


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (a_label(dtype=torch.float32), "holds float32 [2, 3, 4, 6], where float16 [2, k, h, w] is expected"),
        (a_label().long(), "holds int64"),
        (a_label()[0], "holds float16 [3, 4, 6]"),
        (a_label()[:1], "holds float16 [1, 3, 4, 6]"),
        (a_label()[:, :0], "holds float16 [2, 0, 4, 6]"),
        (a_label().bfloat16(), "holds bfloat16 [2, 3, 4, 6]"),
        (a_label().to_sparse(), "holds a Tensor, but not one plain tensor"),
        ({"label": a_label()}, "holds a dict, but not one plain tensor"),
        (a_label().to("meta"), "holds a Tensor, but not one plain tensor"),
        (a_label(k=2), "has a grid of 4x6 with 2 classes at each location, the other labels one of 4x6 with 3"),
        (a_label(grid=(6, 4)), "has a grid of 6x4 with 3 classes at each location, the other labels one of 4x6"),
        (_with(a_label(), (0, 0, 1, 2), math.nan), "holds a logit that is no finite number: nan"),
        (_with(a_label(), (0, 0, 1, 2), math.inf), "holds a logit that is no finite number: inf"),
        (_with(a_label(), (1, 0, 1, 2), math.nan), "holds the class id nan, where whole numbers from 0 to 49"),
        (_with(a_label(), (1, 0, 1, 2), math.inf), "holds the class id inf"),
        (_with(a_label(), (1, 0, 1, 2), 2.5), "holds the class id 2.5"),
        (_with(a_label(), (1, 0, 1, 2), -1), "holds the class id -1"),
        (_with(a_label(), (1, 0, 1, 2), 50), "holds the class id 50, where whole numbers from 0 to 49 are expected"),
        (_with(a_label(), (1, slice(0, 2), 1, 2), 7), "holds the class id 7 twice at one location"),
    ],
)
def test_what_is_no_label_is_a_row_with_a_reason(one_wrong: Collection, label: object, reason: str) -> None:
    save(label, wrong(one_wrong))
    status, found = one_wrong.failure()
    assert status == "undecodable"
    assert found.startswith(f"cat/c.pt {reason}")
    store = open_store(one_wrong.store)
    assert store.column("status").tolist() == [0, 0, Status.UNDECODABLE, 0, 0]
    assert verify(store, deep=True).state == "ok"


def test_a_parameter_is_a_tensor(one_wrong: Collection) -> None:
    save(torch.nn.Parameter(a_label()), wrong(one_wrong))
    assert one_wrong.bring_in().complete


def test_a_picture_without_a_label_file_is_missing(one_wrong: Collection) -> None:
    assert one_wrong.failure() == ("missing", "there is no label file cat/c.pt")


def test_a_large_file_is_refused_without_being_loaded(one_wrong: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(file: io.BytesIO, **options: object) -> torch.Tensor:
        assert len(file.getvalue()) < 2**20
        return original(file, **options)

    original = torch.load
    monkeypatch.setattr(torch, "load", load)
    with open(wrong(one_wrong), "wb") as file:
        file.truncate(label_file.MAX_BYTES + 1)
    status, reason = one_wrong.failure()
    assert (status, reason) == ("refused", "cat/c.pt has 67,108,865 bytes; a label has at most 67,108,864")


def test_a_small_file_that_inflates_is_refused(one_wrong: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_file, "MAX_BYTES", 100_000)
    save(torch.zeros(2, 3, 100, 100, dtype=torch.float16), wrong(one_wrong))
    with zipfile.ZipFile(wrong(one_wrong)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(wrong(one_wrong), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    assert wrong(one_wrong).stat().st_size < 5000
    assert torch.load(wrong(one_wrong)).nbytes == 120_000
    real, inflated = torch.load, []

    def load(file: io.BytesIO, **options: object) -> torch.Tensor:
        loaded: torch.Tensor = real(file, **options)
        inflated.append(loaded.nbytes > 100_000)
        return loaded

    monkeypatch.setattr(torch, "load", load)
    status, reason = one_wrong.failure()
    assert status == "refused"
    assert reason.startswith("cat/c.pt unfolds to 12")
    assert not any(inflated), "it was refused only after it had been loaded"


def test_one_number_that_claims_to_be_many_is_refused(one_wrong: Collection) -> None:
    save(torch.zeros(1, dtype=torch.float16).expand(2, 3, 10**5, 10**5), wrong(one_wrong))
    status, reason = one_wrong.failure()
    assert (status, reason) == (
        "refused",
        "cat/c.pt unfolds to 120,000,000,000 bytes; a label has at most 67,108,864",
    )


@pytest.mark.parametrize("target", ["a.pt", "nowhere.pt"])
def test_links_are_refused_even_to_another_label(one_wrong: Collection, target: str) -> None:
    wrong(one_wrong).symlink_to(target)
    status, reason = one_wrong.failure()
    assert (status, reason) == ("refused", "cat/c.pt is a link, or lies behind one that leaves the tree")


def test_a_folder_that_is_a_link_out_of_the_tree_is_refused(collection: Collection) -> None:
    collection.labelled("cat/a.jpg")
    collection.picture("dog/b.jpg")
    save(a_label(), collection.root / "elsewhere/b.pt")
    (collection.tree / "dog").symlink_to(collection.root / "elsewhere")
    assert collection.failure() == ("refused", "dog/b.pt is a link, or lies behind one that leaves the tree")


def test_a_folder_that_is_a_link_within_the_tree_is_followed(collection: Collection) -> None:
    collection.labelled("cat/a.jpg")
    collection.picture("dog/a.jpg")
    (collection.tree / "dog").symlink_to("cat")
    assert collection.bring_in().complete


def test_pipes_and_folders_are_no_label_files(one_wrong: Collection) -> None:
    (one_wrong.tree / "cat/a.pt").unlink()
    os.mkfifo(one_wrong.tree / "cat/a.pt")
    wrong(one_wrong).mkdir()
    assert one_wrong.bring_in().failures == (
        ("cat/a.jpg", "unreadable", "cat/a.pt is not a regular file"),
        ("cat/c.jpg", "unreadable", "cat/c.pt: Is a directory"),
    )


def test_a_picture_that_cannot_be_opened_is_a_row(one_wrong: Collection) -> None:
    save(a_label(), wrong(one_wrong))
    (one_wrong.images / "cat/c.jpg").write_bytes(b"no picture")
    assert one_wrong.failure() == ("undecodable", "the picture: not a picture of a known type")


def test_a_wrong_first_file_does_not_decide_the_grid(collection: Collection) -> None:
    collection.labelled("b.jpg", "c.jpg")
    collection.picture("a.jpg")
    save(_with(a_label(k=2), (0, 0, 0, 0), math.nan), collection.tree / "a.pt")
    assert collection.bring_in().labelled == 2


# --- names


@pytest.mark.parametrize(
    ("key", "own", "cut"),
    [
        ("cat/tom.JPEG", "cat/tom.pt", "cat/tom.pt"),
        ("cat/tom.v1.jpg", "cat/tom.v1.pt", "cat/tom.pt"),
        ("big.cat/leo.jpg", "big.cat/leo.pt", "big.pt"),
        ("x/cat/tom.jpg", "x/cat/tom.pt", "cat/tom.pt"),
        ("tom.v1.jpg", "tom.v1.pt", "tom.pt"),
        ("tom", "tom.pt", "tom.pt"),
        ("cat/.tom", "cat/.tom.pt", "cat/.pt"),
        ("v1.2/tom", "v1.2/tom.pt", "v1.pt"),
    ],
)
def test_both_names_of_a_label_file(key: str, own: str, cut: str) -> None:
    assert (own_name(key), cut_name(key)) == (own, cut)


def test_a_cut_name_is_taken_where_one_picture_alone_may_mean_it(collection: Collection) -> None:
    collection.picture("cat/tom.v1.jpg", "big.cat/leo.jpg", "x/dog/rex.jpg")
    for n, name in enumerate(("cat/tom.pt", "big.pt", "dog/rex.pt")):
        save(a_label(n), collection.tree / name)
    summary = collection.bring_in()
    assert (summary.complete, summary.left_over) == (True, ())
    store = open_store(collection.store)
    for n, key in enumerate(("cat/tom.v1.jpg", "big.cat/leo.jpg", "x/dog/rex.jpg")):
        assert (store.read([store.find(key)]).scores[0] == a_label(n)[0].permute(1, 2, 0).numpy()).all()


def test_the_own_name_comes_before_the_cut_one(collection: Collection) -> None:
    collection.labelled("cat/tom.v1.jpg", "cat/tom.jpg")
    summary = collection.bring_in()
    assert (summary.complete, summary.left_over) == (True, ())
    labels = open_store(collection.store).read([0, 1])
    assert not np.array_equal(labels.scores[0], labels.scores[1])


@pytest.mark.parametrize(
    ("keys", "file"),
    [
        (["cat/tom.v1.jpg", "cat/tom.v2.jpg"], "cat/tom.pt"),
        (["cat/tom.jpg", "cat/tom.v2.jpg"], "cat/tom.pt"),
        (["cat/tom.jpg", "cat/tom.png"], "cat/tom.pt"),
        (["big.cat/leo.jpg", "big.dog/rex.jpg"], "big.pt"),
        (["x/cat/tom.jpg", "y/cat/tom.jpg"], "cat/tom.pt"),
    ],
)
def test_pictures_that_share_a_label_file_get_none_and_name_each_other(
    collection: Collection, keys: list[str], file: str
) -> None:
    collection.labelled("zoo/other.jpg")
    collection.picture(*keys)
    save(a_label(), collection.tree / file)
    summary = collection.bring_in()
    assert summary.labelled == 1
    assert summary.left_over == ()
    assert summary.failures == tuple(
        (
            key,
            "refused",
            f"the label file {file} may as well be that of {other}; where pictures share one, none gets it",
        )
        for key, other in (keys, keys[::-1])
    )


def test_a_cut_name_is_no_guess_between_a_picture_with_a_label_and_one_without(collection: Collection) -> None:
    """tom.v1 has its own label, but by the cut naming tom.pt may be its as well as that of tom.v2."""
    collection.labelled("cat/tom.v1.jpg")
    collection.picture("cat/tom.v2.jpg")
    save(a_label(), collection.tree / "cat/tom.pt")
    [(key, status, reason)] = collection.bring_in().failures
    assert (key, status) == ("cat/tom.v2.jpg", "refused")
    assert "may as well be that of cat/tom.v1.jpg;" in reason


def test_a_file_that_many_share_names_a_few_of_them(collection: Collection) -> None:
    collection.labelled("zoo/other.jpg")
    collection.picture(*(f"big.cat/{n}.jpg" for n in range(9)))
    save(a_label(), collection.tree / "big.pt")
    key, _, reason = collection.bring_in().failures[0]
    assert key == "big.cat/0.jpg"
    assert "big.cat/1.jpg, big.cat/2.jpg, big.cat/3.jpg and others;" in reason


def test_both_names_that_were_tried_are_told(collection: Collection) -> None:
    collection.labelled("a.jpg")
    collection.picture("cat/tom.v1.jpg")
    assert collection.failure() == ("missing", "there is no label file cat/tom.pt or cat/tom.v1.pt")


def test_label_files_of_no_picture_are_listed(collection: Collection) -> None:
    collection.labelled("cat/a.jpg", "cat/b.v1.jpg")
    for name in ("cat/stray.pt", "dog/x.pt", "cat/b.pt"):  # the last by a name that its picture does not need
        save(a_label(), collection.tree / name)
    (collection.tree / "readme.txt").write_text("no label")
    summary = collection.bring_in()
    assert summary.left_over == ("cat/b.pt", "cat/stray.pt", "dog/x.pt")
    assert "3 label files belong to no picture:\n  cat/b.pt\n" in summary.describe()
    assert summary.to_json()["left_over"] == list(summary.left_over)


def test_a_folder_that_cannot_be_listed_ends_the_import(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(folder: str):
        if folder == str(collection.tree / "dog"):  # root may list every folder, so that modes are no test
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    real = os.scandir
    collection.labelled("cat/a.jpg", "dog/b.jpg")
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(AnnotateError, match="cannot list the folder .*dog: Permission denied; nothing has been impor"):
        collection.bring_in()
    assert not collection.store.exists()


# --- what cannot be imported at all


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


def test_the_summary_speaks_to_people_and_programs(one_wrong: Collection) -> None:
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


# --- export


def a_store(
    root: Path, labels: LabelMap, *, class_count: int, keys: Sequence[str] = (), reasons: dict[int, str] | None = None
) -> LabelStore:
    """A store of these labels in one shard."""
    schema = Schema(
        grid=labels.grid,
        k=labels.k,
        class_count=class_count,
        rows_per_shard=len(labels),
        scores=labels.kind,
        score_type="uint8" if labels.kind == "probability" else str(labels.scores.dtype),
    )
    store = create_store(root / "made.zarr", schema, keys or [f"{n}.jpg" for n in range(len(labels))])
    store.write(range(len(labels)), labels, reasons=reasons or {})
    return store


def published_recipe(label: torch.Tensor, class_count: int) -> torch.Tensor:
    """What the published trainers make of a file: a map of zeros, filled with the logits; softmax over the classes."""
    dense = torch.zeros(class_count, *label.shape[2:])
    dense.scatter_(0, label[1].long(), label[0].float())
    return dense.softmax(0)


@pytest.mark.parametrize(("class_count", "k"), [(1000, 5), (2048, 5), (12, 5), (6, 5), (5, 5), (40, 1)])
def test_the_published_recipe_makes_the_stored_probabilities_of_the_file(
    tmp_path: Path, class_count: int, k: int
) -> None:
    labels = random_labels(np.random.default_rng(0), 4, class_count=class_count, k=k)
    store = a_store(tmp_path, labels, class_count=class_count)
    assert export_tree(store, tmp_path / "tree").complete
    stored = store.read(range(4))
    nothing = stored.classes == no_class(stored.classes.dtype)
    assert nothing.any() or k == 1, "there are ranks without a class, or this is no test of them"
    # A logit below 32 is off by 2^-7 at most, and a probability by twice that part of it.
    for row in range(4):
        recipe = published_recipe(torch.load(tmp_path / f"tree/{row}.pt"), class_count).permute(1, 2, 0).numpy()
        ids = np.where(nothing[row], 0, stored.classes[row]).astype(np.int64)
        found, expected = np.take_along_axis(recipe, ids, -1), stored.scores[row]
        assert (abs(found - expected)[~nothing[row]] <= (2**-6 * expected + 2e-5)[~nothing[row]]).all()
        # and the others have equal parts of what remains
        others = np.ones((*labels.grid, class_count), bool)
        for y, x, rank in np.argwhere(~nothing[row]):
            others[y, x, stored.classes[row, y, x, rank]] = False
        even = stored.remainder[row] / np.maximum(others.sum(-1), 1)
        assert (
            abs(recipe - even[..., None])[others] <= (2**-6 * even + 2e-5)[..., None].repeat(class_count, -1)[others]
        ).all()


def test_before_rounding_the_probabilities_are_exact() -> None:
    rng = np.random.default_rng(0)
    for class_count, k in ((1000, 5), (12, 5), (6, 5), (5, 5)):
        labels = random_labels(rng, 1, class_count=class_count, k=k)
        named = rng.random(labels.scores.shape) < 0.7
        if class_count == k:
            named[:] = True
        scores = np.where(named, labels.scores, 0)
        logits = exporting.recipe_logits(scores, named, class_count)
        assert not logits[~named].any()
        unnamed = class_count - named.sum(-1)
        whole = (np.exp(logits) * named).sum(-1) + unnamed
        assert (abs(np.exp(logits) / whole[..., None] - scores)[named]).max() < 1.6e-5
        fair = 1 - scores.sum(-1) > 2e-5  # elsewhere a little is taken from all
        if class_count > k:
            assert (abs(np.exp(logits) / whole[..., None] - scores)[named & fair[..., None]]).max() < 1e-6


def test_certainty_is_a_finite_logit(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 1, class_count=1000)
    labels.scores[...] = [1, 0, 0]
    export_tree(a_store(tmp_path, labels, class_count=1000), tmp_path / "tree")
    written = torch.load(tmp_path / "tree/0.pt")
    assert written.isfinite().all()
    assert (published_recipe(written, 1000).max(0).values > 0.9999).all()


def test_a_rank_without_a_class_gets_one_that_is_not_there_with_logit_0(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 1, class_count=9, k=4)
    labels.classes[0, 0, 0], labels.scores[0, 0, 0] = [1, 0, 3, 2], [0.6, 0.3, 0, 0]
    labels.classes[0, 0, 1], labels.scores[0, 0, 1] = [8, 1, 3, 2], [0.9, 0, 0, 0]
    labels.classes[0, 0, 2], labels.scores[0, 0, 2] = [8, 1, 3, 2], [0, 0, 0, 0]
    export_tree(a_store(tmp_path, labels, class_count=9), tmp_path / "tree")
    logits, ids = torch.load(tmp_path / "tree/0.pt")
    assert ids[:, 0, 0].tolist() == [1, 0, 2, 3]
    assert ids[:, 0, 1].tolist() == [8, 0, 1, 2]
    assert ids[:, 0, 2].tolist() == [0, 1, 2, 3]
    assert logits[2:, 0, 0].tolist() == logits[1:3, 0, 1].tolist() == [0, 0]
    assert (ids.sort(0).values.diff(dim=0) > 0).all()


def test_a_class_of_no_probability_is_as_good_as_none() -> None:
    label = random_labels(np.random.default_rng(0), 1, grid=(1, 1), class_count=9, k=4)[0]
    label.classes[:], label.scores[:] = [1, 0, 3, 2], [0.6, 0.3, 0, 0]
    values = exporting.file_values(label, 9)
    assert np.isfinite(values).all()
    assert values[1, :, 0, 0].tolist() == [1, 0, 2, 3]
    assert values[0, 2:, 0, 0].tolist() == [0, 0]


def test_logits_without_a_class_go_out_as_what_the_recipe_takes_them_for(tmp_path: Path) -> None:
    made = random_labels(np.random.default_rng(0), 1, class_count=40)
    classes = made.classes.copy()
    classes[..., 2] = no_class(classes.dtype)
    labels = LabelMap(classes, made.scores + 3, made.boxes, made.sizes, made.status, "logit")
    export_tree(a_store(tmp_path, labels, class_count=40), tmp_path / "tree")
    logits, ids = torch.load(tmp_path / "tree/0.pt")
    assert logits.dtype == torch.float32
    assert not logits[2].any()
    assert (ids.sort(0).values.diff(dim=0) > 0).all()


def test_more_classes_than_float16_can_number_are_not_exported(tmp_path: Path) -> None:
    store = a_store(tmp_path, random_labels(np.random.default_rng(0), 1, class_count=2049), class_count=2049)
    with pytest.raises(AnnotateError, match=r"2,049 classes do not fit .* float16 .* up to 2,048"):
        export_tree(store, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_pictures_without_a_label_are_listed_and_not_written(one_wrong: Collection) -> None:
    one_wrong.bring_in()
    (one_wrong.store / "shards/record/c/2").unlink()
    told: list[Progress] = []
    exported = export_tree(open_store(one_wrong.store), one_wrong.root / "out", report=told.append)
    assert exported.failures == (
        ("cat/c.jpg", "missing", "there is no label file cat/c.pt"),
        ("cat/e.jpg", "pending", "its shard is not labelled yet"),
    )
    assert (exported.written, exported.pictures, exported.complete) == (3, 5, False)
    assert sorted(path.name for path in (one_wrong.root / "out").rglob("*.*")) == ["a.pt", "b.pt", "d.pt"]
    assert [(progress.done, progress.total, progress.failed) for progress in told] == [
        (0, 5, 0),
        (2, 5, 0),
        (4, 5, 1),
        (5, 5, 2),
    ]
    assert exported.describe().startswith("wrote 3 label files for 5 pictures in ")
    assert "2 pictures have no label:\n  cat/c.jpg: missing, there is no" in exported.describe()
    assert json.loads(json.dumps(exported.to_json()))["failures"][1]["status"] == "pending"


def test_keys_that_would_share_a_file_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 3)
    store = a_store(tmp_path, labels, class_count=40, keys=["0.jpg", "cat/a.jpg", "cat/a.png"])
    with pytest.raises(AnnotateError, match=r"cannot export 'cat/a\.jpg' and 'cat/a\.png': both .* file cat/a\.pt"):
        export_tree(store, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("key", ["../x.jpg", "a/../../x.jpg", "/tmp/x.jpg", "a//x.jpg", "x\0.jpg"])
def test_a_hostile_key_leaves_nothing_behind(tmp_path: Path, key: str) -> None:
    store = a_store(tmp_path, random_labels(np.random.default_rng(0), 2), class_count=40)
    store.__dict__["keys"] = ["fine.jpg", key]  # as a store of somebody else could say
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AnnotateError, match="cannot export row 1: its key .* does not name a file below a folder"):
        export_tree(store, tmp_path / "tree")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("link", ["cat", "cat/deep", "dangling"])
def test_a_link_in_the_target_is_not_followed(tmp_path: Path, link: str) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (tree / link).parent.mkdir(parents=True)
    (tree / link).symlink_to(outside if link != "dangling" else outside / "new")
    labels = random_labels(np.random.default_rng(0), 2)
    store = a_store(tmp_path, labels, class_count=40, keys=["0.jpg", f"{link}/deep/a.jpg"])
    with pytest.raises(AnnotateError, match=r"cannot write to .* through a link, .*outside.* Nothing was written"):
        export_tree(store, tree)
    assert not list(outside.iterdir())
    assert not list(tree.rglob("*.pt"))


def test_a_link_where_a_file_should_go_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    precious, tree = tmp_path / "precious", tmp_path / "tree"
    precious.write_text("precious")
    tree.mkdir()
    (tree / "0.pt").symlink_to(precious)
    export_tree(a_store(tmp_path, random_labels(np.random.default_rng(0), 1), class_count=40), tree)
    assert precious.read_text() == "precious"
    assert not (tree / "0.pt").is_symlink()


def test_the_target_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "tree").symlink_to("real")
    store = a_store(tmp_path, random_labels(np.random.default_rng(0), 1), class_count=40, keys=["cat/a.jpg"])
    export_tree(store, tmp_path / "tree")
    assert (tmp_path / "real/cat/a.pt").is_file()


def test_exporting_again_gives_the_same_files_and_leaves_nothing_beside_them(tmp_path: Path) -> None:
    store = a_store(tmp_path, random_labels(np.random.default_rng(0), 3), class_count=40)
    export_tree(store, tmp_path / "tree")
    before = contents(tmp_path / "tree")
    assert sorted(before) == ["0.pt", "1.pt", "2.pt"]
    (tmp_path / "tree/1.pt").write_bytes(b"half")
    export_tree(store, tmp_path / "tree")
    assert contents(tmp_path / "tree") == before
    assert (tmp_path / "tree/0.pt").stat().st_mode == (tmp_path / "made.zarr/zarr.json").stat().st_mode


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = a_store(tmp_path, random_labels(np.random.default_rng(0), 2), class_count=40)
    real: Callable[..., None] = os.replace

    def replace(old: Path, new: Path) -> None:
        if Path(new).name == "1.pt":
            raise OSError(28, "No space left on device")
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(AnnotateError, match=r"cannot write the label file 1\.pt: No space left .* same command does"):
        export_tree(store, tmp_path / "tree")
    assert sorted(contents(tmp_path / "tree")) == ["0.pt"]


def test_a_target_that_is_a_file_is_refused(tmp_path: Path) -> None:
    store = a_store(tmp_path, random_labels(np.random.default_rng(0), 1), class_count=40)
    (tmp_path / "tree").write_text("a file")
    with pytest.raises(AnnotateError, match="cannot write label files to .*tree: File exists; give another folder"):
        export_tree(store, tmp_path / "tree")


def test_damage_is_never_exported_as_a_label(tmp_path: Path) -> None:
    store = a_store(tmp_path, random_labels(np.random.default_rng(0), 1), class_count=40)
    data = bytearray((tmp_path / "made.zarr/scores/c/0/0/0/0").read_bytes())
    data[10] ^= 1
    (tmp_path / "made.zarr/scores/c/0/0/0/0").write_bytes(data)
    with pytest.raises(DamageError):
        export_tree(open_store(store.address), tmp_path / "tree")
    assert not list((tmp_path / "tree").rglob("*.pt"))


def test_what_the_files_cannot_say_is_said(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(0), 3)
    labels.boxes[1] = [0, 0.25, 1, 0.75]
    store = a_store(tmp_path, labels, class_count=40, keys=["cat/a.jpg", "cat/b.v1.jpg", "x/cat/c.jpg"])
    exported = export_tree(store, tmp_path / "tree")
    assert (exported.partial, exported.elsewhere) == (1, ("cat/b.v1.jpg", "x/cat/c.jpg"))
    assert "1 of them are not of just the whole picture" in exported.describe()
    assert (
        "for 2 pictures the published trainers look under another name:\n  cat/b.v1.jpg: cat/b.pt"
        in exported.describe()
    )


def test_a_store_error_is_what_a_bad_address_gives(collection: Collection) -> None:
    collection.labelled("a.jpg")
    collection.store = collection.tree / "a.pt"
    with pytest.raises(StoreError):
        collection.bring_in()
