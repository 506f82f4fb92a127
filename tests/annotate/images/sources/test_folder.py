"""Is a folder read in one order, with keys that hold, and nothing from outside it?"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from annotate.errors import AnnotateError, PictureError
from annotate.images import FolderImages, FolderReader
from storage import Status
from tests.annotate.images.odd_pictures import READS_AVIF


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_keys_are_sorted_relative_paths_with_odd_names_kept(tmp_path: Path) -> None:
    names = ["b/img.v2.jpg", "b/img.v1.jpg", "a b/ü ñ.PNG", "a b/x..y.jpeg", "c../1.jpg"]
    touch(tmp_path, *names)
    source = FolderImages(tmp_path)
    assert source.keys == sorted(names)
    assert [source.reader.read(key) for key in source.keys] == [key.encode() for key in source.keys]


def test_classes_are_the_sorted_first_folders(tmp_path: Path) -> None:
    touch(tmp_path, "dog/2.jpg", "cat/deep/1.jpg", "ant/3.jpg")
    source = FolderImages(tmp_path)
    assert source.target_names == ("ant", "cat", "dog")
    assert source.targets == [0, 1, 2]


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "dog/2.jpg")
    assert FolderImages(tmp_path).targets is None


def test_other_files_are_counted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "notes.txt", "2.jpg.part", ".hidden.jpg", ".git/3.jpg")
    source = FolderImages(tmp_path)
    assert (source.keys, source.left_out) == (["1.jpg"], 2)


def test_linked_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "root/own/2.jpg")
    os.symlink(tmp_path / "elsewhere", tmp_path / "root" / "linked")
    os.symlink(tmp_path / "root", tmp_path / "root" / "own" / "circle")
    assert FolderImages(tmp_path / "root").keys == ["linked/1.jpg", "own/2.jpg"]


def test_a_folder_with_two_links_is_in_the_collection_twice(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "root/own/2.jpg")
    for name in ("cat", "felis"):
        os.symlink(tmp_path / "elsewhere", tmp_path / "root" / name)
    os.symlink(tmp_path / "root" / "own", tmp_path / "root" / "own again")
    source = FolderImages(tmp_path / "root")
    assert source.keys == ["cat/1.jpg", "felis/1.jpg", "own again/2.jpg", "own/2.jpg"]
    assert source.target_names == ("cat", "felis", "own", "own again")


def test_only_a_link_to_a_folder_above_it_is_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "root/a/1.jpg", "root/b/deep/2.jpg")
    os.symlink(tmp_path / "root" / "a", tmp_path / "root" / "b" / "to a")
    os.symlink(tmp_path / "root" / "b", tmp_path / "root" / "b" / "deep" / "up")
    os.symlink(tmp_path / "root", tmp_path / "root" / "a" / "top")
    assert FolderImages(tmp_path / "root").keys == ["a/1.jpg", "b/deep/2.jpg", "b/to a/1.jpg"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/n01/1.jpg", "train/n02/2.jpg", "val/n01/3.jpg"], ["train", "val"]),
        (["train/n01/1.jpg", "val/ILSVRC2012_val_00000001.JPEG"], ["train", "val"]),
        (["Data/CLS/test/1.jpg", "Data/CLS/train/n01/1.jpg"], ["Data/CLS/test", "Data/CLS/train"]),
        (["ILSVRC/Data/train/n01/1.jpg", "ILSVRC/Data/train/n02/2.jpg"], ["ILSVRC/Data/train"]),
        (["train/n01/1.jpg", "train/n01/2.jpg"], ["train"]),
        (["Train/a/1.jpg", "Test/a/1.jpg"], ["Test", "Train"]),
    ],
)  # fmt: skip
def test_splits_are_not_taken_for_classes_and_their_folders_are_named(
    tmp_path: Path, names: list[str], splits: list[str]
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(AnnotateError) as caught:
        FolderImages(tmp_path)
    addresses = " or ".join(str(tmp_path / split) for split in splits)
    assert str(caught.value).endswith(f"Give the folder of one split: {addresses}")
    assert all(FolderImages(tmp_path / split).keys for split in splits)


@pytest.mark.parametrize(
    "names", [["train/1.jpg"], ["train/1.jpg", "cat/2.jpg"], ["1.jpg", "train/a/2.jpg"], ["cat/train/1.jpg"]]
)
def test_a_class_may_be_called_like_a_split(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    assert len(FolderImages(tmp_path).keys) == len(names)


def test_jfif_is_a_picture_and_avif_is_where_pillow_reads_it(tmp_path: Path) -> None:
    touch(tmp_path, "1.jfif", "2.AVIF", "3.heic")
    assert FolderImages(tmp_path).keys == ["1.jfif", *["2.AVIF"] * READS_AVIF]


def test_a_folder_without_pictures_says_what_it_found(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(AnnotateError, match="holds no picture: 1 files were found"):
        FolderImages(tmp_path)
    with pytest.raises(AnnotateError, match="there is no folder of pictures"):
        FolderImages(tmp_path / "nothing")


def test_a_file_that_vanished_is_missing_and_a_folder_is_unreadable(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    reader = FolderReader(tmp_path)
    for key, status in (("a/2.jpg", Status.MISSING), ("a/1.jpg/x.jpg", Status.MISSING), ("a", Status.UNREADABLE)):
        with pytest.raises(PictureError) as caught:
            reader.read(key)
        assert caught.value.status == status


def test_a_file_with_another_form_of_its_name_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "cafe\u0301.jpg")
    with pytest.raises(
        PictureError, match=r"the file is gone, but 'cafe\\u0301.jpg' is there: one name in another form"
    ):
        FolderReader(tmp_path).read("caf\xe9.jpg")


@pytest.mark.parametrize("key", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "", "a\0.jpg"])
def test_a_key_cannot_leave_the_root(tmp_path: Path, key: str) -> None:
    touch(tmp_path, "secret.jpg", "root/a/1.jpg")
    with pytest.raises(PictureError, match="does not name a file below the root"):
        FolderReader(tmp_path / "root").read(key)


def test_what_is_sent_to_a_worker_holds_no_keys(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n}.jpg" for n in range(500)))
    assert len(pickle.dumps(FolderImages(tmp_path).reader)) < 500


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="not a regular file"):
        FolderReader(tmp_path).read("pipe.jpg")


def test_a_file_that_is_larger_than_any_picture_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(PictureError, match="1,099,511,627,776 bytes are more than the 2,147,483,648 allowed") as error:
        FolderReader(tmp_path).read("sparse.jpg")
    assert error.value.status == Status.REFUSED


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "b").chmod(0)
    program = f"from annotate.images import FolderImages; FolderImages({str(tmp_path)!r})"
    command = [sys.executable, "-c", program]
    if os.geteuid() == 0:  # root lists everything, unless it gives that up
        if shutil.which("setpriv") is None:
            pytest.skip("root can list every folder, and setpriv, which can forbid it, is not installed")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    result = subprocess.run(command, capture_output=True, text=True)
    (tmp_path / "b").chmod(0o755)
    assert "AnnotateError: cannot list the folder" in result.stderr
