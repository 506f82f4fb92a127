"""Is each label file given to its picture, and to no other?"""

from __future__ import annotations

import os

import numpy as np
import pytest

from annotate.errors import AnnotateError
from annotate.exchange.tree_names import cut_name, own_name
from storage import (
    open_store,
)
from tests.annotate.exchange.collection import Collection, a_label, save


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
            f"the label file {file} may also belong to {other}; such a file is used for none of them",
        )
        for key, other in (keys, keys[::-1])
    )


def test_a_cut_name_is_not_a_guess_between_a_picture_with_a_label_and_one_without(collection: Collection) -> None:
    """tom.v1 has its own label, but by the cut naming tom.pt may be its as well as that of tom.v2."""
    collection.labelled("cat/tom.v1.jpg")
    collection.picture("cat/tom.v2.jpg")
    save(a_label(), collection.tree / "cat/tom.pt")
    [(key, status, reason)] = collection.bring_in().failures
    assert (key, status) == ("cat/tom.v2.jpg", "refused")
    assert "may also belong to cat/tom.v1.jpg;" in reason


def test_a_file_that_many_share_names_a_few_of_them(collection: Collection) -> None:
    collection.labelled("zoo/other.jpg")
    collection.picture(*(f"big.cat/{n}.jpg" for n in range(9)))
    save(a_label(), collection.tree / "big.pt")
    key, _, reason = collection.bring_in().failures[0]
    assert key == "big.cat/0.jpg"
    assert "big.cat/1.jpg, big.cat/2.jpg, big.cat/3.jpg and others;" in reason


def test_both_names_that_were_tried_are_reported(collection: Collection) -> None:
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
        if folder == str(collection.tree / "dog"):  # root may list every folder, so that file modes cannot test it
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    real = os.scandir
    collection.labelled("cat/a.jpg", "dog/b.jpg")
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(AnnotateError, match="cannot list the folder .*dog: Permission denied; nothing has been impor"):
        collection.bring_in()
    assert not collection.store.exists()
