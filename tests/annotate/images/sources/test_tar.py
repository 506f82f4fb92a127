"""Are the pictures of tar files those that tarfile extracts, and is a bad archive refused, not read in part?"""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.errors import AnnotateError, PictureError
from annotate.images import ImageSource, open_images
from storage import Status
from tests.annotate.images.collections import write_tar

PARTS = st.text("ab.ü", min_size=1, max_size=3).filter(lambda part: not part.startswith(".")) | st.just("x" * 90)
MEMBERS = st.tuples(
    st.lists(PARTS, min_size=1, max_size=2).map("/".join),
    st.sampled_from([".jpg", ".PNG", ".cls", ".json", ""]),
    st.binary(max_size=1500),
)


def read(source: ImageSource) -> dict[str, object]:
    return {key: source.reader.read(handle) for key, handle in zip(source.keys, source.handles, strict=True)}


@settings(deadline=None, max_examples=60)
@given(
    members=st.lists(MEMBERS, max_size=12),
    layout=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    prefix=st.sampled_from(["", "./"]),
)
def test_a_picture_read_by_its_place_is_what_tarfile_extracts(
    members: list[tuple[str, str, bytes]], layout: int, prefix: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.tar"
        with tarfile.open(path, "w", format=layout) as archive:
            for name, suffix, data in [*members, ("last", ".jpg", b"1")]:
                data = b"7" if suffix == ".cls" else data  # for two of one name that differ are refused
                member = tarfile.TarInfo(prefix + name + suffix)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        with tarfile.open(path) as archive:
            expected = {
                name.removeprefix("./"): archive.extractfile(name).read()  # type: ignore[union-attr]
                for name in archive.getnames()
                if name.lower().endswith((".jpg", ".png"))
            }
        source = open_images(path)
        assert read(source) == expected
        assert source.left_out == sum(suffix.lower() not in (".jpg", ".png") for _, suffix, _ in members)


def test_a_name_that_occurs_twice_is_its_later_member(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"old", "2.jpg": b"2"})
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("./1.jpg")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"new"))
    source = open_images(path)
    assert read(source) == {"2.jpg": b"2", "1.jpg": b"new"}
    assert source.keys == ["2.jpg", "1.jpg"]


def test_names_in_two_files_get_the_name_of_their_file_in_front(tmp_path: Path) -> None:
    write_tar(tmp_path / "b.tar", {"1.jpg": b"b1"})
    write_tar(tmp_path / "a.tar", {"2.jpg": b"a2", "1.jpg": b"a1"})
    source = open_images(tmp_path)
    assert source.keys == ["a.tar/2.jpg", "a.tar/1.jpg", "b.tar/1.jpg"]
    assert read(source) == {"a.tar/2.jpg": b"a2", "a.tar/1.jpg": b"a1", "b.tar/1.jpg": b"b1"}


def add_link(path: Path, name: str, target: str, kind: bytes = tarfile.LNKTYPE) -> None:
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)


def test_hidden_members_are_ignored_and_those_without_bytes_of_their_own_are_left_out(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1", "._1.jpg": b"", ".git/2.jpg": b"2", "LICENSE": b"3"})
    add_link(path, "link.jpg", "1.jpg", tarfile.SYMTYPE)
    add_link(path, "dir.jpg", "", tarfile.DIRTYPE)
    add_link(path, "nothing.jpg", "gone.jpg")
    source = open_images(path)
    assert (source.keys, source.left_out) == (["1.jpg"], 3)


def test_a_hard_link_is_the_picture_that_it_links_to(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"./a/1.jpg": b"1", "a/1.cls": b"7", "blob": b"2", ".cache/3": b"3"})
    for name, target in (
        ("b/1.jpg", "a/1.jpg"),
        ("b/1.cls", "a/1.cls"),
        ("c/1.jpg", "b/1.jpg"),
        ("c/1.cls", "a/1.cls"),
    ):
        add_link(path, name, target)
    source = open_images(path)
    assert (source.targets, source.left_out) == ([7, 7, 7], 4)
    for name, target in (("d/2.jpg", "blob"), ("d/3.jpg", ".cache/3")):
        add_link(path, name, target)
    expected = {"a/1.jpg": b"1", "b/1.jpg": b"1", "c/1.jpg": b"1", "d/2.jpg": b"2", "d/3.jpg": b"3"}
    assert read(open_images(path)) == expected


def test_files_with_two_names_are_packed_by_tar_as_hard_links(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"1")
    (tmp_path / "2.jpg").hardlink_to(tmp_path / "1.jpg")
    subprocess.run(["tar", "-cf", "a.tar", "1.jpg", "2.jpg"], cwd=tmp_path, check=True)
    assert read(open_images(tmp_path / "a.tar")) == {"1.jpg": b"1", "2.jpg": b"1"}


@pytest.mark.parametrize("layout", ["gnu", "posix"])
def test_a_sparse_member_is_read_with_its_holes(tmp_path: Path, layout: str) -> None:
    with (tmp_path / "holes.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.write(b"start")
        file.seek(3 << 18)
        file.write(b"middle")
    (tmp_path / "1.jpg").write_bytes(b"1")
    (tmp_path / "2.jpg").hardlink_to(tmp_path / "holes.jpg")
    names = ["holes.jpg", "1.jpg", "2.jpg"]
    subprocess.run(["tar", "--sparse", f"--format={layout}", "-cf", "a.tar", *names], cwd=tmp_path, check=True)
    assert (tmp_path / "a.tar").stat().st_size < 1 << 20
    source = open_images(tmp_path / "a.tar")
    assert (read(source), source.left_out) == ({name: (tmp_path / name).read_bytes() for name in names}, 0)


def test_a_sparse_member_that_claims_to_be_huge_is_refused_as_a_row(tmp_path: Path) -> None:
    with (tmp_path / "holes.jpg").open("wb") as file:
        file.truncate(1 << 40)
    subprocess.run(["tar", "--sparse", "-cf", "a.tar", "holes.jpg"], cwd=tmp_path, check=True)
    with pytest.raises(PictureError, match="1,099,511,627,776 bytes are more than the") as caught:
        read(open_images(tmp_path / "a.tar"))
    assert caught.value.status == Status.REFUSED


@pytest.mark.parametrize(
    ("classes", "targets"),
    [
        ({"a.b/1.cls": b"7\n", "2.cls": b" -1"}, [7, 7, -1]),
        ({"a.b/1.cls": b"7"}, None),
        ({"a.b/1.cls": b"7", "2.cls": b"dog"}, None),
        ({"a.b/1.cls": b"7", "2.cls": b"1" * 33}, None),
        ({"a.b/1.cls": b"7", "b/2.cls": b"1"}, None),
        ({"a.b/1.pred.cls": b"5", "a.b/1.cls": b"7", "a.b/1.v2.cls": b"6", "2.cls": b"1"}, [7, 7, 1]),
        ({"a.b/1.pred.cls": b"7", "2.cls": b"1"}, None),
        ({"a.b/1.cls": b"7", "2.CLS": b"1"}, [7, 7, 1]),
        ({}, None),
    ],
)
def test_cls_members_are_targets_where_every_picture_has_one(
    tmp_path: Path, classes: dict[str, bytes], targets: list[int] | None
) -> None:
    pictures = {"a.b/1.left.jpg": b"1", "a.b/1.right.jpg": b"2", "2.jpg": b"3"}
    assert open_images(write_tar(tmp_path / "a.tar", pictures | classes)).targets == targets


def test_versions_of_a_picture_that_share_a_stem_are_one_sample_and_not_each_others_class(tmp_path: Path) -> None:
    """For WebDataset they are one sample, "img", with the parts v1.jpg, v1.cls, …: none of them is its class."""
    members = {"img.v1.jpg": b"1", "img.v1.cls": b"1", "img.v2.jpg": b"2", "img.v2.cls": b"2"}
    source = open_images(write_tar(tmp_path / "a.tar", members))
    assert (source.keys, source.targets) == (["img.v1.jpg", "img.v2.jpg"], None)


@pytest.mark.parametrize(("first", "second"), [(b"7", b"8"), (b"7", b"dog"), (b"", b"7")])
def test_two_classes_of_one_sample_are_refused_by_name(tmp_path: Path, first: bytes, second: bytes) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1", "1.cls": first})
    with tarfile.open(path, "a") as archive:
        for data in (first + b"\n", second):
            member = tarfile.TarInfo("./1.cls")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(
        AnnotateError, match="a.tar: its member '1.cls' occurs twice, with the class .* and earlier with"
    ):
        open_images(path)


def test_a_class_that_is_said_twice_is_one(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1", "1.cls": b"7", "./1.cls": b"7\n"})
    assert open_images(path).targets == [7]


def test_a_class_that_is_not_a_class_number_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1", "1.cls": b"99999999999"})
    with pytest.raises(AnnotateError, match="the .cls member of '1.jpg' in .*a.tar has the label 99999999999; classes"):
        open_images(path)


@pytest.mark.parametrize("name", ["../x.jpg", "/x.jpg", "a/../x.jpg", "a//x.jpg", "x\udcff.jpg"])
def test_a_name_that_is_not_a_key_is_refused(tmp_path: Path, name: str) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"1"})
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(
        AnnotateError, match="cannot use .*a.tar: the name of its member '.*x.*jpg' is not a valid key. A key is"
    ):
        open_images(path)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TGZ", "a.tar"])
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    data = write_tar(tmp_path / "plain" / "b.tar", {"1.jpg": b"1"}).read_bytes()
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / name).write_bytes(gzip.compress(data))
    write_tar(tmp_path / "shards" / "b.tar", {"2.jpg": b"2"})
    for address in (tmp_path / "shards", tmp_path / "shards" / name):
        with pytest.raises(AnnotateError, match=rf"cannot use .*{name}: it is compressed \(gzip\).* Decompress it"):
            open_images(address)


def test_a_tar_that_is_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", {f"{n}.jpg": bytes([n]) * 700 for n in range(3)}).read_bytes()
    end = 3 * (512 + 1024)  # of the last member; zeros follow, of which one block must be there
    for length in range(0, len(whole), 128):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        if length < end + 512:
            with pytest.raises(AnnotateError, match="cannot index .*cut.tar: .* truncated, damaged or not a tar file"):
                open_images(tmp_path / "cut.tar")
        else:
            assert len(open_images(tmp_path / "cut.tar").keys) == 3


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{n}.jpg": b"1" for n in range(3)})
    data = bytearray(path.read_bytes())
    data[1024] ^= 1  # the second header, whose checksum fails
    path.write_bytes(data)
    with pytest.raises(AnnotateError, match="at byte 1,024 is neither a member nor the end mark"):
        open_images(path)


def test_a_size_below_zero_is_damage_and_not_a_circle(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{n}.jpg": b"1" for n in range(2)})
    data = bytearray(path.read_bytes())
    data[1024 + 124 : 1024 + 136] = (-512 & (1 << 96) - 1).to_bytes(12, "big")
    data[1024 + 148 : 1024 + 156] = b" " * 8
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(data[1024:1536])
    path.write_bytes(data)
    with pytest.raises(AnnotateError, match="cannot index .*a.tar"):
        open_images(path)


def test_joined_tars_are_refused_as_the_later_ones_would_be_lost(tmp_path: Path) -> None:
    one, two = (write_tar(tmp_path / name, {f"{name}.jpg": b"1"}).read_bytes() for name in ("a", "b"))
    (tmp_path / "joined.tar").write_bytes(one + two)
    with pytest.raises(AnnotateError, match="there is more data after its end mark at byte 1,024"):
        open_images(tmp_path / "joined.tar")


def test_a_tar_that_changed_is_not_read_by_its_old_index(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"1.jpg": b"one"})
    source = open_images(path)
    write_tar(path, {"2.jpg": b"2" * 11000})
    with pytest.raises(PictureError, match="a.tar has changed: it has 20,480 bytes, and had 10,240 when") as caught:
        source.reader.read(source.handles[0])
    assert caught.value.status == Status.UNREADABLE


def test_a_tar_without_pictures_or_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="holds no picture: none of the 2 members of 1 tar files has the name"):
        open_images(write_tar(tmp_path / "a.tar", {"1.txt": b"1", "2.cls": b"2"}))
    add_link(tmp_path / "a.tar", "1.jpg", "a.jpg", tarfile.SYMTYPE)
    with pytest.raises(AnnotateError, match="holds no picture: 1 members have the name of one, but are symbolic links"):
        open_images(tmp_path / "a.tar")
    inner = write_tar(tmp_path / "n01440764.tar", {"1.jpg": b"1"}).read_bytes()
    train = write_tar(tmp_path / "train" / "train.tar", {"n01440764.tar": inner, "n01443537.tar": inner})
    with pytest.raises(AnnotateError, match="train.tar holds tar files, such as 'n01440764.tar'. Extract it, and each"):
        open_images(train)
    write_tar(tmp_path / "train" / "val.tar", {"1.jpg": b"1"})  # beside one whose pictures are read as they are
    with pytest.raises(AnnotateError, match="train holds other files: train.tar holds tar files"):
        open_images(tmp_path / "train")
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(AnnotateError, match="cannot read the tar file .*folder.tar: Is a directory"):
        open_images(tmp_path)


def test_a_member_that_is_larger_than_any_picture_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """The tar file itself is sparse here, and takes no room."""
    member = tarfile.TarInfo("large.jpg")
    member.size = 2**40
    with (tmp_path / "large.tar").open("wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + 2**40 + 10_240)
    source = open_images(str(tmp_path / "large.tar"))
    with pytest.raises(PictureError, match="1,099,511,627,776 bytes are more than the 2,147,483,648 allowed") as error:
        source.reader.read(source.handles[0])
    assert error.value.status == Status.REFUSED
