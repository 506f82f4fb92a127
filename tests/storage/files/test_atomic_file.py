"""Is a file there whole or not at all?"""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.files.atomic_file import Prepared, remove_leftovers, remove_leftovers_below, write_atomically


def test_a_file_is_written_from_bytes_or_by_a_function(tmp_path: Path) -> None:
    for data in (b"new", memoryview(b"new"), lambda file: file.write(b"new")):
        path = tmp_path / "folder" / "file"
        write_atomically(path, data)
        assert path.read_bytes() == b"new"
        path.write_bytes(b"old")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_what_was_there_stays_when_writing_fails(tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise io.UnsupportedOperation("the disk is full")

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(io.UnsupportedOperation, match="the disk is full"):
        write_atomically(tmp_path / "file", fail)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_prepared_file_gets_its_name_later_or_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with Prepared(tmp_path / "file", b"new"):
        assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"new", b"old"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}
    with Prepared(tmp_path / "file", b"new") as prepared:
        prepared.put_in_place()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}


def test_a_prepared_file_that_another_process_took_for_a_leftover_is_written_again(tmp_path: Path) -> None:
    with Prepared(tmp_path / "file", b"new") as prepared:
        remove_leftovers_below(tmp_path)
        assert not list(tmp_path.iterdir())
        prepared.put_in_place()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"first", new=True)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file", b"second", new=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"first"}


@pytest.mark.parametrize("code", ["ENOSYS", "EPERM", "EOPNOTSUPP", "EMLINK", "EINVAL", "ENOTTY", "EXDEV", "EACCES"])
def test_a_new_file_replaces_none_where_links_are_refused(
    tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object) -> None:
        raise OSError(getattr(errno, code), "no links")

    monkeypatch.setattr("storage.files.atomic_file.os.link", refuse)
    test_a_new_file_replaces_none(tmp_path)
    monkeypatch.setattr("storage.files.atomic_file.os.rename", refuse)  # the folder refuses more than links
    with pytest.raises(OSError, match="no links") as caught:
        write_atomically(tmp_path / "other", b"first", new=True)
    assert caught.value.errno == getattr(errno, code)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_of_the_disk_is_no_lack_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("storage.files.atomic_file.os.link", refuse)
    with pytest.raises(OSError, match="broken"):
        write_atomically(tmp_path / "file", b"first", new=True)
    assert not list(tmp_path.iterdir())


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    for name in ("a" * 255, "é" * 127, "画" * 85):
        write_atomically(tmp_path / name, b"data")
        assert (tmp_path / name).read_bytes() == b"data"


def test_leftovers_of_one_file_or_of_all_below_a_folder_are_removed(tmp_path: Path) -> None:
    names = (
        "a[1].0123456789abcdef.partial",
        "a1.0123456789abcdef.partial",
        "b/c.0123456789abcdef.partial",
        "a[1]",
        "b/c",
        "a[1].partial",
        "film.mkv.partial",
        "b/notes.12ab.partial",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path / "a[1]")
    assert [name for name in names if not (tmp_path / name).exists()] == ["a[1].0123456789abcdef.partial"]
    remove_leftovers_below(tmp_path)
    assert [name for name in names if (tmp_path / name).exists()] == [*names[3:]]
