"""Does every kind of collection keep the promises of a source?"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from annotate.errors import PictureError
from annotate.images import ImageSource, by_key, open_images
from storage import Status
from storage.keys.key import check_keys
from tests.annotate.images.collections import KINDS, NAMES, PICTURES


@pytest.fixture(scope="module", params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the same pictures, in each kind of collection. Do not change it."""
    return KINDS[request.param](tmp_path_factory.mktemp("images") / request.param)


@pytest.fixture(scope="module")
def pictures(address: Path) -> dict[str, bytes]:
    """What must be read, by key, in the order of the collection."""
    keys = sorted(NAMES) if address.name == "folder" else NAMES
    # `save_to_disk` keeps only the last part of a path.
    return {Path(key).name if address.name == "saved" else key: PICTURES[key] for key in keys}


@pytest.fixture(scope="module")
def source(address: Path) -> ImageSource:
    return open_images(address)


def test_every_picture_has_its_key_and_its_bytes(source: ImageSource, pictures: dict[str, bytes]) -> None:
    check_keys(source.keys)
    read = {key: source.reader.read(handle) for key, handle in zip(source.keys, source.handles, strict=True)}
    assert read == pictures


def test_every_picture_has_its_class(source: ImageSource, address: Path) -> None:
    if address.name == "one.tar":
        assert source.targets is None
        return
    assert source.targets is not None
    assert source.targets == [int(Path(key).stem) % 3 for key in source.keys]
    names = {"folder": ("class 0", "class 1", "class 2"), "train": ("a", "b", "c"), "saved": ("a", "b", "c")}
    assert source.target_names == names.get(address.name)


def test_the_order_is_that_of_the_collection_each_time(
    source: ImageSource, address: Path, pictures: dict[str, bytes]
) -> None:
    assert source.keys == list(pictures)
    assert open_images(address).keys == source.keys


def test_handles_are_asked_by_row_and_by_range_of_rows(source: ImageSource, pictures: dict[str, bytes]) -> None:
    part = source.handles[11:29]
    assert [source.reader.read(handle) for handle in part] == list(pictures.values())[11:29]
    assert source.reader.read(source.handles[39]) == list(pictures.values())[39]
    assert len(part) == 18
    assert len(pickle.dumps(part)) < 1000


def test_a_reader_works_in_a_process_that_was_spawned(
    source: ImageSource, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    source.reader.read(source.handles[0])  # what is open now does not travel
    (tmp_path / "travelling").write_bytes(pickle.dumps((source.reader, source.handles[5:35])))
    program = (
        "import pickle, sys; reader, handles = pickle.load(open(sys.argv[1], 'rb'))\n"
        "sys.stdout.buffer.write(b''.join(map(reader.read, handles)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "travelling")]
    result = subprocess.run(command, capture_output=True, check=True)
    assert result.stdout == b"".join(list(pictures.values())[5:35])


def test_a_reader_works_in_processes_that_were_forked_and_still_here(
    source: ImageSource, pictures: dict[str, bytes]
) -> None:
    source.reader.read(source.handles[20])
    expected = list(pictures.values())

    def child() -> None:
        same = [source.reader.read(handle) for handle in source.handles] == expected
        os._exit(0 if same else 1)

    children = [multiprocessing.get_context("fork").Process(target=child) for _ in range(2)]
    for process in children:
        process.start()
    here = [source.reader.read(handle) for handle in source.handles]
    for process in children:
        process.join(60)
    assert [process.exitcode for process in children] == [0, 0]
    assert here == expected


def test_threads_share_a_reader(source: ImageSource, pictures: dict[str, bytes]) -> None:
    rows = np.random.default_rng(0).permutation(np.tile(np.arange(40), 10)).tolist()
    with ThreadPoolExecutor(8) as threads:
        read = list(threads.map(lambda row: source.reader.read(source.handles[row]), rows))
    assert read == [list(pictures.values())[row] for row in rows]


def test_what_is_sent_to_a_worker_holds_no_keys(source: ImageSource) -> None:
    assert len(pickle.dumps(source.reader)) < 800


def test_a_source_says_what_it_is_in_a_line(source: ImageSource, address: Path) -> None:
    assert repr(source) == f"{type(source).__name__}({str(address)!r}, 40 pictures)"
    assert len(repr(source.reader)) < 250
    assert len(repr(source.handles[:1000])) < 800


def test_a_picture_is_found_by_its_key(address: Path, pictures: dict[str, bytes]) -> None:
    read = by_key(address)
    assert {key: read(key) for key in reversed(pictures)} == pictures
    with pytest.raises(PictureError) as caught:
        read("class 0/nothing.jpg")
    assert caught.value.status == Status.MISSING


def test_a_collection_that_is_gone_is_a_row_without_a_label(tmp_path: Path, address: Path) -> None:
    place = tmp_path / "here"
    os.symlink(address if address.is_dir() else address.parent, place)
    source = open_images(place if address.is_dir() else place / address.name)
    reader, handle = pickle.loads(pickle.dumps((source.reader, source.handles[3])))
    place.unlink()
    with pytest.raises(PictureError) as caught:
        reader.read(handle)
    assert caught.value.status == Status.MISSING
