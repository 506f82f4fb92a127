"""Does damage of any kind cost no more than rows with a status, or refuse a collection with a reason?

A slice of what was tried at length: thousands of damaged files of every kind, odd names, tar files and lists.
"""

from __future__ import annotations

import io
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.errors import AnnotateError, PictureError
from annotate.images import ImageSource, open_images
from annotate.images.decode import decode, measure
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.recipe import Recipe
from storage import Status, open_store
from tests.annotate.images.odd_pictures import ODD_PICTURES, SCENE, encoded, tiff

MOST_PIXELS = 4_000_000  # what a damaged header may claim; decoding more only takes time
FLOATS = (SCENE[..., 0] / 255).astype(np.float32)
SOUND = {name: odd.data for name, odd in ODD_PICTURES.items() if odd.shows is not None}
SOUND |= {kind: encoded(SCENE, kind) for kind in ("BMP", "GIF", "JPEG2000", "PPM", "TIFF", "WEBP")}
SOUND |= {"floats": tiff(FLOATS), "deep": tiff((FLOATS * 2**31).astype(np.uint32))}
ODD_NAMES = (
    *("-rf.jpg", "new\nline.jpg", "tab\t.jpg", "\x1b[31mred.jpg", " space .jpg", 'quo"te,comma.jpg', "back\\slash.jpg"),
    *("per%20cent#q?x.jpg", "n" * 240 + ".jpg", "rtl\u202egpj.jpg", "😀.jpg", "a.jpg.jpg", "x..y.jpg", "x.JFIF"),
    *(unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD")),
)


def damaged(sound: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Versions of the bytes that are cut, have other bits, or have a part that is zeros, repeated or gone."""
    for n in range(count):
        start, stop = sorted(rng.integers(0, len(sound) + 1, 2).tolist())
        match n % 6:
            case 0:
                yield sound[:stop]
            case 1 | 2:
                changed = bytearray(sound)
                for place in rng.integers(0, len(sound) if n % 2 else min(len(sound), 200), 1 + n % 9):
                    changed[place] ^= 1 << int(rng.integers(8))
                yield bytes(changed)
            case 3:
                stop = min(stop, start + 60)
                yield sound[:start] + bytes(stop - start) + sound[stop:]
            case 4:
                yield sound[:stop] + sound[start:]
            case _:
                yield sound[:start] + sound[stop:]


def rows_of(open_source: Callable[[], ImageSource]) -> int:
    """How many rows a collection has, each of which was read or has a status; 0 where it is refused with a reason."""
    try:
        source = open_source()
    except AnnotateError:
        return 0
    assert len(source.keys) == len(source.handles)
    reasons = []
    for row in range(len(source.keys)):
        try:
            source.reader.read(source.handles[row])
        except PictureError as error:
            reasons.append(error.reason)
    assert all(reasons)
    return len(source.keys)


@pytest.mark.parametrize("name", SOUND)
def test_a_damaged_picture_is_a_picture_or_a_row_with_a_reason(name: str) -> None:
    errors = []
    for data in damaged(SOUND[name], np.random.default_rng(7), 48):
        try:
            height, width = measure(data, exif="apply")
            if height * width <= MOST_PIXELS:
                picture = decode(data, exif="apply", white=1.0)
                assert (picture.dtype, picture.shape[2:]) == (np.uint8, (3,))
        except PictureError as error:
            errors.append(error)
    assert all(error.reason for error in errors)
    assert {error.status for error in errors} <= {Status.UNDECODABLE, Status.REFUSED}


def test_odd_names_are_keys_and_their_pictures_are_labelled(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "images" / "dog").mkdir(parents=True)
    for name in ODD_NAMES:
        (tmp_path / "images" / "dog" / name).write_bytes(encoded(SCENE, "JPEG"))
    for name in ("._1.jpg", ".DS_Store", "Thumbs.db", "1.jpg~", "noext"):
        (tmp_path / "images" / "dog" / name).write_bytes(b"other")
    (tmp_path / "images" / "dog" / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "images" / "dog" / "self.jpg").symlink_to("self.jpg")
    source = open_images(tmp_path / "images")
    assert sorted(source.keys) == sorted(f"dog/{name}" for name in (*ODD_NAMES, "broken.jpg", "self.jpg"))
    summary = run(source, str(tmp_path / "labels.zarr"), recipe, LocalWorkers())
    assert {failure.key for failure in summary.failures} == {"dog/broken.jpg", "dog/self.jpg"}
    store = open_store(tmp_path / "labels.zarr")
    assert all(store.find(f"dog/{name}") >= 0 for name in ODD_NAMES)


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_damaged_tar_is_refused_or_has_rows_with_a_status(tmp_path: Path, layout: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout) as archive:
        for n, name in enumerate((*(name for name in ODD_NAMES if len(name) < 90), "a/1.jpg", "a/1.CLS")):
            member = tarfile.TarInfo(name)
            member.size = 600
            archive.addfile(member, io.BytesIO(bytes([n]) * 600))
        for kind, name in ((tarfile.LNKTYPE, "hard.jpg"), (tarfile.SYMTYPE, "soft.jpg"), (tarfile.FIFOTYPE, "p.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a/1.jpg"
            archive.addfile(member)
    path = tmp_path / "a.tar"
    path.write_bytes(buffer.getvalue())
    whole = rows_of(lambda: open_images(path))
    assert whole == sum(len(name) < 90 for name in ODD_NAMES) + 2
    for data in damaged(buffer.getvalue().rstrip(b"\0") + bytes(1024), np.random.default_rng(3), 150):
        path.write_bytes(data)
        rows_of(lambda: open_images(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'path,label\na/1.jpg,0\n"b, 2.jpg",7\ncafé.jpg,\n'),
        ("a.csv", "path,label,more\r\na/1.jpg,cat,x\r\nb.jpg,dog,y\r\n"),
        ("a.jsonl", '{"path": "a/1.jpg", "label": 3}\n{"path": "b.jpg", "label": null}\n'),
        ("a.jsonl", '{"label": "cat", "path": "é.jpg"}\n\n{"path": "b.jpg", "label": "dog"}\n'),
    ],
)
def test_a_damaged_list_is_refused_or_has_rows_with_a_status(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "b.jpg").write_bytes(b"1")
    for data in (text.encode(), *damaged(text.encode(), np.random.default_rng(5), 150)):
        (tmp_path / name).write_bytes(data)
        rows_of(lambda: open_images(tmp_path / name))


def test_damaged_pictures_cost_their_own_rows_alone(tmp_path: Path, recipe: Recipe) -> None:
    rng = np.random.default_rng(11)
    for n, data in enumerate(damaged(encoded(SCENE, "JPEG"), rng, 24)):
        (tmp_path / f"{n:02}.jpg").write_bytes(data)
    Image.fromarray(SCENE).save(tmp_path / "sound.png")
    summary = run(open_images(tmp_path), str(tmp_path / "labels.zarr"), recipe, LocalWorkers(), rows_per_shard=50)
    store = open_store(tmp_path / "labels.zarr")
    status = store.column("status")
    assert status[store.find("sound.png")] == Status.LABELLED
    assert len(summary.failures) == np.count_nonzero(status)
    assert all(failure.reason for failure in summary.failures)
    assert not summary.given_up
