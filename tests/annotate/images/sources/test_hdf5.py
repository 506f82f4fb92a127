"""Is an HDF5 file read as it says, pixels and all, and is another one refused by what is in it?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from annotate.errors import AnnotateError, PictureError
from annotate.images import open_images
from storage import Status

ANY_LENGTH = h5py.vlen_dtype(np.uint8)
RNG = np.random.default_rng(0)


def write(path: Path, **columns: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


@pytest.mark.parametrize("shape", [(5, 4, 6, 3), (5, 4, 6), (5, 1, 3, 3)])
def test_pixels_are_read_as_they_are(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("images", data=pixels, chunks=(2, *shape[1:]), compression="gzip", shuffle=True)
    source = open_images(tmp_path / "a.hdf5")
    assert source.keys == [f"00000000{row}" for row in range(5)]
    assert (source.targets, source.target_names, source.left_out) == (None, None, 0)
    for row, handle in enumerate(source.handles):
        picture = source.reader.read(handle)
        assert isinstance(picture, np.ndarray)
        np.testing.assert_array_equal(picture, pixels[row])
        assert picture.dtype == np.uint8


def test_bytes_of_any_length_are_read_as_they_are(tmp_path: Path) -> None:
    pictures = [b"\0\0", b"", bytes(range(256)) * 50 + b"\0"]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("images", 3, ANY_LENGTH)
        for row, data in enumerate(pictures):
            images[row] = np.frombuffer(data, np.uint8)
        file["labels"] = np.array([4, -1, 2], np.int16)
        file["keys"] = np.array([b"b/1.jpg", "ü.jpg".encode(), b"a"])
    source = open_images(tmp_path / "a.h5")
    assert [source.reader.read(handle) for handle in source.handles] == pictures
    assert (source.keys, source.targets) == (["b/1.jpg", "ü.jpg", "a"], [4, -1, 2])


PIXELS = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "has no dataset 'images' but nothing. It must hold the pictures"),
        ({"pictures": PIXELS, "y": [1]}, "has no dataset 'images' but pictures, y"),
        ({"classes": PIXELS, "scores": PIXELS}, "it looks like part of a store of labels, not like pictures"),
        (
            {"images/1": PIXELS, "x": [1]},
            "'images' but a group of this name, which holds 1. It must hold the pictures",
        ),
        ({"images": PIXELS.astype(np.float32)}, r"'images' in .* is float32 \[2, 4, 4, 3\]; pictures are uint8"),
        ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, r"'images' in .* is uint8 \[2, 3, 4, 4\]; pictures are uint8"),
        ({"images": np.zeros((2, 4), np.uint8)}, r"'images' in .* is uint8 \[2, 4\]; pictures are"),
        ({"images": [b"12", b"3"]}, r"'images' in .* is .* \[2\]; pictures are uint8 arrays of any length"),
        ({"images": PIXELS[:0]}, "'images' in .* is empty"),
        ({"images": PIXELS, "labels": [1]}, "'labels' in .* expected: 2 whole numbers, one for each picture"),
        ({"images": PIXELS, "labels": [1.0, 2.0]}, "'labels' in .* expected: 2 whole numbers, one for each picture"),
        ({"images": PIXELS, "labels": ["a", "b"]}, "'labels' in .* expected: 2 whole numbers, one for each picture"),
        ({"images": PIXELS, "labels": [1, -2]}, "row 1 of 'labels' in .* has the label -2; classes here are 0 to"),
        ({"images": PIXELS, "keys": ["a"]}, "'keys' in .* expected: 2 texts, one for each picture"),
        ({"images": PIXELS, "keys": [1, 2]}, "'keys' in .* expected: 2 texts, one for each picture"),
        ({"images": PIXELS, "keys/a": [1, 2]}, "'keys' in .* expected: 2 texts, one for each picture"),
        ({"images": PIXELS, "keys": ["a", "../b"]}, r"row 1 of 'keys' in .* is '\.\./b'; a key is a relative path"),
        ({"images": PIXELS, "keys": ["a", "a"]}, "row 0 of 'keys' in .* is 'a', which occurs twice; a key is"),
        ({"images": PIXELS, "keys": [b"a", b"\xff"]}, "cannot read the HDF5 file .*: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_not_a_collection_is_refused_by_what_is_in_it(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnnotateError, match=message):
        open_images(write(tmp_path / "a.h5", **columns))


def test_a_file_that_is_not_hdf5_or_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    with pytest.raises(AnnotateError, match="cannot read the HDF5 file .*a.h5: "):
        open_images(tmp_path / "a.h5")
    whole = write(tmp_path / "b.h5", images=PIXELS).read_bytes()
    (tmp_path / "b.h5").write_bytes(whole[:-50])
    with pytest.raises(AnnotateError, match="cannot read the HDF5 file .*b.h5: .*truncated"):
        open_images(tmp_path / "b.h5")


def test_a_chunk_that_is_damaged_is_one_picture_that_cannot_be_read(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (3, 8, 8, 3), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("images", data=pixels, chunks=(1, 8, 8, 3), fletcher32=True)
        place = images.id.get_chunk_info(1).byte_offset
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[place + 7] ^= 1
    (tmp_path / "a.h5").write_bytes(data)
    source = open_images(tmp_path / "a.h5")
    with pytest.raises(PictureError, match="a.h5: ") as caught:
        source.reader.read(source.handles[1])
    assert caught.value.status == Status.UNREADABLE
    np.testing.assert_array_equal(source.reader.read(source.handles[2]), pixels[2])


def test_a_file_that_became_shorter_has_rows_that_cannot_be_read(tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "a.h5", images=np.repeat(PIXELS, 5, 0)))
    shutil.copy(write(tmp_path / "b.h5", images=PIXELS), tmp_path / "a.h5")
    with pytest.raises(PictureError) as caught:
        source.reader.read(source.handles[7])
    assert caught.value.status == Status.UNREADABLE


def test_a_file_that_is_open_elsewhere_in_the_process_is_read_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", images=PIXELS)
    with h5py.File(path, "r"):
        source = open_images(path)
        np.testing.assert_array_equal(source.reader.read(source.handles[0]), PIXELS[0])


@pytest.mark.parametrize("name", ["images", "labels", "keys"])
@pytest.mark.parametrize("kind", ["external storage", "virtual", "link", "link of a link"])
def test_a_file_that_takes_values_from_another_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    """The bytes of a private file would be pictures, and their labels would be published."""
    columns = {"images": PIXELS, "labels": np.array([0, 1]), "keys": np.array([b"a.jpg", b"b.jpg"])}
    write(tmp_path / "private.h5", secret=columns[name])
    (tmp_path / "private").write_bytes(bytes(1000))
    path = write(tmp_path / "a.h5", **{other: values for other, values in columns.items() if other != name})
    shape, dtype = columns[name].shape, columns[name].dtype
    with h5py.File(path, "r+") as file:
        if kind == "external storage":
            file.create_dataset(name, shape, dtype, external=[(str(tmp_path / "private"), 0, columns[name].nbytes)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(tmp_path / "private.h5"), "secret", shape)
            file.create_virtual_dataset(name, layout)
        elif kind == "link":
            file[name] = h5py.ExternalLink(str(tmp_path / "private.h5"), "secret")
        else:
            file["aside"] = h5py.ExternalLink(str(tmp_path / "private.h5"), "/")
            file[name] = h5py.SoftLink("aside/secret")
    with pytest.raises(AnnotateError, match=f"cannot read the HDF5 file .*'{name}'.* (not read|not followed)"):
        open_images(path)


def test_a_link_within_the_file_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", **{"data/pixels": PIXELS})
    with h5py.File(path, "r+") as file:
        file["images"] = h5py.SoftLink("/data/pixels")
    source = open_images(path)
    assert np.array_equal(source.reader.read(source.handles[1]), PIXELS[1])


def test_more_pictures_than_a_file_can_hold_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (2**31, 4, 4, 3), np.uint8, chunks=(1, 4, 4, 3))
    with pytest.raises(AnnotateError, match="says that it has 2,147,483,648 pictures; the file holds no more than 0"):
        open_images(tmp_path / "a.h5")


def test_one_picture_is_not_taken_for_a_row_of_grey_ones(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((8, 9, 3), np.uint8)
    with pytest.raises(
        AnnotateError, match=r"uint8 \[8, 9, 3\]: one picture in colour.* One picture is \[1, 8, 9, 3\]"
    ):
        open_images(tmp_path / "a.h5")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("images", (1, 2**20, 2**20), np.uint8, chunks=(1, 8, 8))
        images[0, :8, :8] = 1
    source = open_images(tmp_path / "a.h5")
    with pytest.raises(PictureError, match="1,099,511,627,776 pixels are more than") as caught:
        source.reader.read(source.handles[0])
    assert caught.value.status == Status.REFUSED


@pytest.mark.parametrize("name", ["images", "labels", "keys"])
def test_a_type_that_numpy_does_not_have_is_one_message(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.h5", **({} if name == "images" else {"images": PIXELS}))
    with h5py.File(path, "r+") as file:
        h5py.h5d.create(file.id, name.encode(), h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((len(PIXELS),)))
    with pytest.raises(AnnotateError, match="cannot read the HDF5 file .*a.h5"):
        open_images(path)
