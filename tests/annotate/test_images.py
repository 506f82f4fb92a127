"""Does every kind of collection keep the promises of a source, and is it found by its address?"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest
from PIL import Image

from annotate.errors import AnnotateError, PictureError
from annotate.images import ImageSource, by_key, open_images
from annotate.images.opened import Opened
from storage import Status
from storage.keys import check_keys

datasets.disable_progress_bars()

NAMES = [f"class {n % 3}/{n}.jpg" for n in range(40)]
LABELS = [n % 3 for n in range(40)]


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (5 + seed % 4, 7, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = {name: jpeg(n) for n, name in enumerate(NAMES)}


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_folder(root: Path) -> Path:
    for name, data in PICTURES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def dataset() -> datasets.Dataset:
    rows = {"image": [{"bytes": data, "path": name} for name, data in PICTURES.items()], "label": LABELS}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    return datasets.Dataset.from_dict(rows, features=features)


def write_tars(root: Path) -> Path:
    for start in range(0, 40, 10):
        names = NAMES[start : start + 10]
        members = {name: PICTURES[name] for name in names}
        members |= {name.replace(".jpg", ".cls"): str(LABELS[NAMES.index(name)]).encode() for name in names}
        write_tar(root / f"{start:02d}.tar", members)
    return root


def write_parquet(root: Path) -> Path:
    root.mkdir()
    for shard, rows in enumerate((range(25), range(25, 40))):
        dataset().select(rows).to_parquet(root / f"train-{shard:05d}-of-00002.parquet", batch_size=10)
    return root


def write_saved(root: Path) -> Path:
    dataset().save_to_disk(root, num_shards=3)
    return root


def write_hdf5(root: Path) -> Path:
    root.mkdir()
    with h5py.File(root / "pictures.h5", "w") as file:
        images = file.create_dataset("images", len(NAMES), h5py.vlen_dtype(np.uint8))
        for row, data in enumerate(PICTURES.values()):
            images[row] = np.frombuffer(data, np.uint8)
        file["labels"] = np.array(LABELS, np.uint8)
        file["keys"] = NAMES
    return root / "pictures.h5"


def write_csv(root: Path) -> Path:
    with (write_folder(root) / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "path"), *zip(LABELS, NAMES, strict=True)])
    return root / "list.csv"


def write_jsonl(root: Path) -> Path:
    lines = [json.dumps({"path": name, "label": label}) for name, label in zip(NAMES, LABELS, strict=True)]
    (write_folder(root) / "list.jsonl").write_text("\n".join(lines))
    return root / "list.jsonl"


KINDS: dict[str, Callable[[Path], Path]] = {
    "folder": write_folder,
    "tar": lambda root: write_tar(root / "one.tar", PICTURES),
    "tars": write_tars,
    "train": write_parquet,
    "saved": write_saved,
    "hdf5": write_hdf5,
    "csv": write_csv,
    "jsonl": write_jsonl,
}


@pytest.fixture(scope="module", params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the same pictures, in each kind of collection. Do not change it."""
    return KINDS[request.param](tmp_path_factory.mktemp("images") / request.param)


@pytest.fixture(scope="module")
def pictures(address: Path) -> dict[str, bytes]:
    """What must be read, by key, in the order of the collection."""
    keys = sorted(NAMES) if address.name == "folder" else NAMES
    # `save_to_disk` keeps the last part of a path, and that is what it says of the picture ever after.
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


def test_a_reader_works_in_processes_that_were_forked_and_goes_on_here(
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


def test_what_travels_knows_no_keys(source: ImageSource) -> None:
    assert len(pickle.dumps(source.reader)) < 800


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


def test_a_file_is_opened_once_in_each_process() -> None:
    opened, made = Opened[object](), []

    def make() -> object:
        made.append(object())
        return made[-1]

    first = opened.get("a", make)
    assert opened.get("a", make) is first
    assert opened.get("b", make) is not first
    assert len(made) == 2
    assert pickle.loads(pickle.dumps(opened)).get("b", lambda: "anew") == "anew"

    def child() -> None:
        os._exit(0 if opened.get("b", lambda: "anew") == "anew" else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_a_lock_that_was_held_during_a_fork_does_not_stop_the_child() -> None:
    opened = Opened[str]()
    process = multiprocessing.get_context("fork").Process(target=lambda: opened.get("b", lambda: "b"))

    def fork() -> str:
        process.start()  # in the midst of opening
        return "a"

    opened.get("a", fork)
    process.join(20)
    exit_code = process.exitcode
    process.kill()  # or this process would wait for it at its own end
    assert exit_code == 0


def test_an_archive_beside_pictures_is_only_left_out(tmp_path: Path) -> None:
    write_tar(write_folder(tmp_path / "images") / "download.tar", {"1.jpg": b"1"})
    (tmp_path / "images" / "metadata.parquet").touch()
    source = open_images(tmp_path / "images")
    assert (source.keys, source.left_out) == (sorted(NAMES), 2)


@pytest.mark.parametrize(
    ("files", "address", "message"),
    [
        ([], "nothing", "there is no folder of pictures at .*, and no file that holds some"),
        (["a.zip"], "a.zip", "cannot tell what pictures are in .*a.zip: a file is .tar, "),
        (["a.jpg"], "a.jpg", "is a picture; give the folder that it lies in"),
        (["a.tar", "b.parquet"], "", "holds tar files and Parquet files; put each kind into a folder of its own"),
        (["labels.h5/store.h5"], "labels.h5", "is a store of labels, not of pictures"),
        (["labels.zarr/zarr.json"], "labels.zarr", "is a store of labels, not of pictures"),
        (["notes.txt"], "", "holds no picture: 1 files were found"),
        ([], "s3://bucket/images", "cannot read pictures from s3://bucket/images: .* Copy or mount them"),
    ],
)
def test_what_holds_no_pictures_is_refused_by_name(
    tmp_path: Path, files: list[str], address: str, message: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(AnnotateError, match=message):
        open_images(address if "://" in address else tmp_path / address)


@pytest.mark.parametrize(
    ("package", "kind", "extra"),
    [("h5py", "hdf5", "hdf5"), ("datasets", "saved", "images"), ("pyarrow", "train", "images")],
)
def test_a_package_that_is_missing_is_named_with_its_cure(tmp_path: Path, package: str, kind: str, extra: str) -> None:
    address = KINDS[kind](tmp_path / kind)
    program = (
        "import sys; sys.modules[sys.argv[1]] = None\nfrom annotate.images import open_images; open_images(sys.argv[2])"
    )
    result = subprocess.run([sys.executable, "-c", program, package, str(address)], capture_output=True, text=True)
    assert f"without {package}: pip install 'tokenlabel[{extra}]'" in result.stderr


def test_only_what_a_kind_needs_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from annotate.images import open_images; open_images(sys.argv[1])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program, str(write_tars(tmp_path / "tars"))]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"h5py", "datasets", "pyarrow", "torch"} & set(imported)
    assert "numpy" in imported
