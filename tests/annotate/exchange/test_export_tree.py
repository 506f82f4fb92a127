"""Does a store go out as a tree that the published trainers read as it was stored?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from annotate.errors import AnnotateError
from annotate.exchange.export_tree import export_tree, file_values, trainer_logits
from storage import (
    DamageError,
    LabelMap,
    LabelStore,
    Progress,
    Schema,
    create_store,
    open_store,
)
from storage.labelmap import no_class
from tests.annotate.exchange.collection import Collection
from tests.conftest import contents
from tests.labels import random_labels


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
    # A logit below 32 is off by 2^-7 at most, and a probability by twice that fraction of it.
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
        logits = trainer_logits(scores, named, class_count)
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
    values = file_values(label, 9)
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
    reported: list[Progress] = []
    exported = export_tree(open_store(one_wrong.store), one_wrong.root / "out", on_progress=reported.append)
    assert exported.failures == (
        ("cat/c.jpg", "missing", "there is no label file cat/c.pt"),
        ("cat/e.jpg", "pending", "its shard is not labelled yet"),
    )
    assert (exported.written, exported.pictures, exported.complete) == (3, 5, False)
    assert sorted(path.name for path in (one_wrong.root / "out").rglob("*.*")) == ["a.pt", "b.pt", "d.pt"]
    assert [(progress.done, progress.total, progress.failed) for progress in reported] == [
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
    store.backend.__dict__["keys"] = ["fine.jpg", key]  # as a store of somebody else could say
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
    with pytest.raises(AnnotateError, match=r"cannot write to .* through a link to .*outside.* Nothing was written"):
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
    with pytest.raises(
        AnnotateError, match=r"cannot write the label file 1\.pt: No space left .* run the same command again"
    ):
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
    assert "1 of them do not cover exactly the whole picture" in exported.describe()
    assert (
        "for 2 pictures the published trainers expect another file name:\n  cat/b.v1.jpg: cat/b.pt"
        in exported.describe()
    )
