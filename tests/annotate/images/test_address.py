"""Is every kind of collection found by its address?"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules

import datasets
import pytest

from annotate.errors import AnnotateError
from annotate.images import address, open_images, sources
from annotate.images.address import _KINDS, _Kind
from tests.annotate.images.collections import KINDS, NAMES, write_folder, write_tar, write_tars


def test_an_archive_beside_pictures_is_only_left_out(tmp_path: Path) -> None:
    write_tar(write_folder(tmp_path / "images") / "download.tar", {"1.jpg": b"1"})
    (tmp_path / "images" / "metadata.parquet").touch()
    source = open_images(tmp_path / "images")
    assert (source.keys, source.left_out) == (sorted(NAMES), 2)


def test_a_preview_beside_shards_is_not_the_collection(tmp_path: Path) -> None:
    write_tars(tmp_path / "shards")
    (tmp_path / "shards" / "preview.jpg").write_bytes(b"1")
    assert open_images(tmp_path / "shards").keys == NAMES


@pytest.mark.parametrize("kind", ["tars", "train", "saved"])
@pytest.mark.parametrize("below", ["data", "snapshots/0123abc/data"])
def test_a_collection_below_the_address_is_named(tmp_path: Path, kind: str, below: str) -> None:
    (tmp_path / "hub" / below).parent.mkdir(parents=True)
    KINDS[kind](tmp_path / "hub" / below)
    (tmp_path / "hub" / "README.md").touch()
    with pytest.raises(AnnotateError, match=r"hub holds no picture, but there are .* below it: give (.+)") as caught:
        open_images(tmp_path / "hub")
    address = str(caught.value).rpartition("give ")[2]
    assert Path(address) == tmp_path / "hub" / below
    assert len(open_images(address).keys) == len(NAMES)


def test_the_cache_of_load_dataset_is_recognised_with_a_program_that_saves_it(tmp_path: Path) -> None:
    KINDS["train"](tmp_path / "train")
    files = str(tmp_path / "train" / "*.parquet")
    datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    with pytest.raises(
        AnnotateError, match="holds the cache of `load_dataset`.* give the folder saved: python"
    ) as caught:
        open_images(tmp_path / "cache")
    _, *arguments = shlex.split(str(caught.value).rpartition("saved: ")[2])
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True, capture_output=True)
    assert len(open_images(tmp_path / "saved").keys) == len(NAMES)


@pytest.mark.parametrize(
    ("files", "address", "message"),
    [
        ([], "nothing", "there is no folder of pictures at .*, and no file that holds pictures"),
        (["a.zip"], "a.zip", "cannot tell what pictures are in .*a.zip: a file is .tar, "),
        (["a.jpg"], "a.jpg", "is one picture; give the folder that holds it"),
        (["a.tar", "b.parquet"], "", "holds tar files and Parquet files; put each kind into a folder of its own"),
        (["labels.h5/store.h5"], "labels.h5", "is a store of labels, not a collection of pictures"),
        (["labels.zarr/zarr.json"], "labels.zarr", "is a store of labels, not a collection of pictures"),
        (["notes.txt"], "", "holds no picture: 1 files were found"),
        ([], "s3://bucket/images", "cannot read pictures from s3://bucket/images: .* copy or mount them"),
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
def test_a_missing_package_is_named_with_its_installation(tmp_path: Path, package: str, kind: str, extra: str) -> None:
    address = KINDS[kind](tmp_path / kind)
    program = (
        "import sys; sys.modules[sys.argv[1]] = None\nfrom annotate.images import open_images; open_images(sys.argv[2])"
    )
    result = subprocess.run([sys.executable, "-c", program, package, str(address)], capture_output=True, text=True)
    assert f"without {package}: pip install 'tokenlabel[{extra}]'" in result.stderr


def test_every_kind_of_collection_is_a_file_and_a_line_of_the_table() -> None:
    """HubImages alone are two kinds, each with a file of its own that opens its tables; tar files have an index."""
    files = {Path(module.name).name for module in iter_modules(sources.__path__)} - {"huggingface", "tar_index"}
    lines = [kind.opener.partition(":")[0] for kind in _KINDS]
    assert sorted(lines) == sorted(files)


def test_a_kind_is_added_by_a_file_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counted.py").write_text("def counted_images(address): return f'the pictures of {address.name}'")
    (tmp_path / "a.counted").touch()
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    monkeypatch.setattr(address, "_KINDS", (*_KINDS, _Kind(opener="counted:counted_images", suffixes=(".counted",))))
    assert open_images(tmp_path / "a.counted") == "the pictures of a.counted"
    with pytest.raises(AnnotateError, match="a file is .tar, .parquet, .h5, .hdf5, .csv, .jsonl or .counted"):
        open_images(tmp_path / "counted.py")


def test_only_what_a_kind_needs_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from annotate.images import open_images; open_images(sys.argv[1])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", program, str(write_tars(tmp_path / "tars"))]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"h5py", "datasets", "pyarrow", "torch"} & set(imported)
    assert "numpy" in imported
