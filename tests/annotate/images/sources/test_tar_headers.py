"""Do the headers of a tar file, which may be anybody's, take no more memory than the names in it need?"""

from __future__ import annotations

import tarfile
import tracemalloc
from pathlib import Path

import pytest

from annotate.errors import AnnotateError
from annotate.images import open_images
from tests.annotate.images.collections import write_tar


def test_a_name_that_is_longer_than_a_key_may_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("d" * 420_000 + "/x.jpg"))
    with pytest.raises(AnnotateError, match=r"a.tar: the name of its member 'ddd.*of at most 4,096 bytes") as caught:
        open_images(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_that_says_that_it_has_gigabytes_is_refused_before_they_are_read(tmp_path: Path, kind: bytes) -> None:
    """The file has holes, so that it takes no room on the disk."""
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1"})
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 2**33
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**33 + 2**12)
    tracemalloc.start()
    try:
        with pytest.raises(AnnotateError, match=r"cannot index .*a.tar: the headers .* more than 1,048,576 bytes"):
            open_images(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_thousands_of_headers_each_for_the_next_one_are_refused(tmp_path: Path, kind: bytes) -> None:
    header, data = tarfile.TarInfo("x"), b"13 path=a.pn\n"
    header.type, header.size = kind, len(data)
    (tmp_path / "a.tar").write_bytes((header.tobuf(tarfile.GNU_FORMAT) + data.ljust(512, b"\0")) * 3000 + bytes(1024))
    with pytest.raises(AnnotateError, match=r"cannot index .*a.tar: .*headers"):
        open_images(tmp_path / "a.tar")
