"""Is a Hugging Face dataset on disk read without decoding, by the columns that it says are pictures and labels?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotate.errors import AnnotateError, PictureError
from annotate.images import open_images
from annotate.images.sources import parquet_table as parquet
from storage import Status

datasets.disable_progress_bars()

PICTURES = [b"not a picture", b"", bytes(range(256))]


def table(**columns: Any) -> pa.Table:
    return pa.table({"image": [{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(PICTURES)]} | columns)


def saved(path: Path, features: dict[str, Any], **columns: Any) -> Path:
    kinds = datasets.Features({"image": datasets.Image(), **features})
    datasets.Dataset.from_dict(table(**columns).to_pydict(), features=kinds).save_to_disk(path)
    return path


def written(path: Path, content: pa.Table, **options: Any) -> Path:
    pq.write_table(content, path, **options)
    return path


def test_bytes_come_as_they_are_with_and_without_the_library_s_own_metadata(tmp_path: Path) -> None:
    for address in (
        written(tmp_path / "a.parquet", table()),
        written(tmp_path / "b.parquet", pa.table({"pixels": PICTURES})),
        written(tmp_path / "c.parquet", pa.table({"image": PICTURES, "mask": PICTURES})),
        saved(tmp_path / "saved", {}),
    ):
        source = open_images(address)
        assert [source.reader.read(handle) for handle in source.handles] == PICTURES
        assert (source.targets, source.target_names, source.left_out) == (None, None, 0)


@pytest.mark.parametrize(
    "paths",
    [
        ["a.jpg", "b.jpg", None],
        ["a.jpg", "b.jpg", "a.jpg"],
        ["a.jpg", "/b.jpg", "c.jpg"],
        ["a.jpg", "../b.jpg", "c.jpg"],
    ],
)
def test_rows_are_named_by_their_numbers_unless_all_paths_are_keys(tmp_path: Path, paths: list[str | None]) -> None:
    images = [{"bytes": data, "path": path} for data, path in zip(PICTURES, paths, strict=True)]
    source = open_images(written(tmp_path / "a.parquet", pa.table({"image": images})))
    assert source.keys == ["000000000", "000000001", "000000002"]
    assert open_images(written(tmp_path / "b.parquet", table())).keys == ["0.jpg", "1.jpg", "2.jpg"]


def test_labels_are_the_column_of_that_name_or_the_only_one_of_classes(tmp_path: Path) -> None:
    kind = datasets.ClassLabel(names=["x", "y", "z"])
    cases: list[tuple[dict[str, Any], dict[str, Any], Any, Any]] = [
        ({"label": kind}, {"label": [2, -1, 0]}, [2, -1, 0], ("x", "y", "z")),
        ({"label": kind}, {"label": [2, None, 0]}, [2, -1, 0], ("x", "y", "z")),
        ({"fine": kind}, {"fine": [2, 1, 0]}, [2, 1, 0], ("x", "y", "z")),
        ({"fine": kind, "coarse": kind}, {"fine": [2, 1, 0], "coarse": [0, 0, 0]}, None, None),
        ({"label": datasets.Value("int64")}, {"label": [2, 1, 0]}, [2, 1, 0], None),
        ({"label": datasets.Value("string")}, {"label": ["b", "a", None]}, [1, 0, -1], ("a", "b")),
        ({"label": datasets.Value("null"), "fine": kind}, {"label": [None] * 3, "fine": [2, 1, 0]}, None, None),
    ]
    for n, (features, columns, targets, names) in enumerate(cases):
        address = saved(tmp_path / str(n), features, **columns)
        datasets.load_from_disk(str(address)).to_parquet(tmp_path / f"{n}.parquet")
        for source in (open_images(address), open_images(tmp_path / f"{n}.parquet")):
            assert (source.targets, source.target_names) == (targets, names)


@pytest.mark.parametrize(("kind", "values"), [("float32", [0.0, 1.0, 2.0]), ("bool", [True, False, None])])
def test_a_column_of_labels_that_are_not_classes_is_refused(tmp_path: Path, kind: str, values: list[Any]) -> None:
    address = saved(tmp_path / "saved", {"label": datasets.Value(kind)}, label=values)
    datasets.load_from_disk(str(address)).to_parquet(tmp_path / "a.parquet")
    for place in (address, tmp_path / "a.parquet"):
        with pytest.raises(AnnotateError, match=f"'label' of the dataset {place} holds {kind}; labels are whole numbe"):
            open_images(place)


def test_a_saved_selection_is_read_in_its_own_order(tmp_path: Path) -> None:
    whole = datasets.load_from_disk(str(saved(tmp_path / "whole", {})))
    whole.select([2, 0]).save_to_disk(tmp_path / "part")
    source = open_images(tmp_path / "part")
    assert source.keys == ["2.jpg", "0.jpg"]
    assert [source.reader.read(handle) for handle in source.handles] == [PICTURES[2], PICTURES[0]]


def test_a_row_without_a_picture_is_one_row_without_a_label(tmp_path: Path) -> None:
    images = [{"bytes": b"1", "path": "1.jpg"}, None, {"bytes": None, "path": "3.jpg"}]
    source = open_images(written(tmp_path / "a.parquet", pa.table({"image": images})))
    assert source.reader.read(source.handles[0]) == b"1"
    for handle in source.handles[1:]:
        with pytest.raises(PictureError, match="the row holds no picture, at most a path") as caught:
            source.reader.read(handle)
        assert caught.value.status == Status.MISSING


def test_a_cell_without_bytes_is_one_row_that_cannot_be_read(tmp_path: Path) -> None:
    images = [{"bytes": [1, 255]}, {"bytes": [1, 256]}, {"bytes": [1, None]}]
    source = open_images(written(tmp_path / "a.parquet", pa.table({"image": images})))
    assert source.reader.read(source.handles[0]) == b"\x01\xff"
    for handle, reason in zip(source.handles[1:], (r"range\(0, 256\)", "integer"), strict=True):
        with pytest.raises(PictureError, match=reason) as caught:
            source.reader.read(handle)
        assert caught.value.status == Status.UNREADABLE


def test_a_row_group_is_read_once_for_all_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{n}.jpg" for n in range(12)]
    images = [{"bytes": name.encode(), "path": name} for name in names]
    source = open_images(written(tmp_path / "a.parquet", pa.table({"image": images}), row_group_size=5))
    groups, whole = [], parquet._read_group
    monkeypatch.setattr(parquet, "_read_group", lambda *place: groups.append(place[1]) or whole(*place))
    assert [source.reader.read(handle) for handle in source.handles] == [name.encode() for name in names]
    assert groups == [0, 1, 2]


def test_files_are_read_by_name_and_empty_ones_and_groups_are_passed_over(tmp_path: Path) -> None:
    for name, rows in (("b", 3), ("a", 2), ("c", 0), ("d", 1)):
        written(tmp_path / f"{name}.parquet", pa.table({"image": PICTURES[:rows]}, pa.schema([("image", pa.binary())])))
    source = open_images(tmp_path)
    assert [source.reader.read(handle) for handle in source.handles] == PICTURES[:2] + PICTURES + PICTURES[:1]
    assert source.keys[-1] == "000000005"


def test_large_row_groups_are_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.parquet", table())
    monkeypatch.setattr(parquet, "_LARGEST_GROUP", 200)
    with pytest.raises(AnnotateError, match="its row group 0 has [0-9,]+ bytes, .* row_group_size=100"):
        open_images(path)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-00000-of-00001-abc.parquet", "validation-00000-of-00001.parquet"], "train, validation"),
        (["fold1-0-of-2.parquet", "fold2-0-of-2.parquet"], "fold1, fold2"),
        (["test.parquet", "train_1.parquet"], "test, train"),
    ],
)
def test_files_of_several_splits_are_refused_by_their_names(tmp_path: Path, names: list[str], splits: str) -> None:
    for name in names:
        written(tmp_path / name, table())
    with pytest.raises(
        AnnotateError, match=f"belong to several splits: {splits}. Link those of one split into a folder"
    ):
        open_images(tmp_path)


def test_a_saved_dataset_of_splits_is_refused_with_their_folders(tmp_path: Path) -> None:
    part = datasets.Dataset.from_dict({"image": PICTURES})
    datasets.DatasetDict({"train": part, "test": part}).save_to_disk(tmp_path / "all")
    with pytest.raises(AnnotateError, match="has the splits train, test; give the folder of one, for example .*/train"):
        open_images(tmp_path / "all")
    assert len(open_images(tmp_path / "all" / "train").keys) == 3


def test_files_with_other_columns_or_classes_are_not_one_collection(tmp_path: Path) -> None:
    for n, names in enumerate((["x", "y"], ["y", "x"])):
        kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        rows = {"image": table()["image"].to_pylist(), "label": [0, 0, 1]}
        datasets.Dataset.from_dict(rows, features=kinds).to_parquet(tmp_path / f"{n}.parquet")
    with pytest.raises(AnnotateError, match="1.parquet and 0.parquet have different columns or classes"):
        open_images(tmp_path)
    written(tmp_path / "1.parquet", table())
    with pytest.raises(AnnotateError, match="1.parquet and 0.parquet have different columns or classes"):
        open_images(tmp_path)


def test_what_has_no_column_of_pictures_is_refused_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(AnnotateError, match="has no columns of pictures among text, n; expected: one column"):
        open_images(written(tmp_path / "a.parquet", pa.table({"text": ["a"], "n": [1]})))
    with pytest.raises(AnnotateError, match="has 2 columns of pictures among left, right; expected: one column"):
        open_images(written(tmp_path / "b.parquet", pa.table({"left": PICTURES, "right": PICTURES})))
    with pytest.raises(AnnotateError, match="the dataset .* has no row"):
        open_images(written(tmp_path / "c.parquet", table().slice(0, 0)))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(AnnotateError, match="cannot read the dataset .*a.parquet: "):
        open_images(tmp_path / "a.parquet")
    address = saved(tmp_path / "saved", {})
    arrow = next(address.glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:50])
    with pytest.raises(AnnotateError, match="cannot read the dataset .*saved: "):
        open_images(address)
    arrow.unlink()
    with pytest.raises(AnnotateError, match="cannot read the dataset .*saved: "):
        open_images(address)
    (address / "state.json").write_text(json.dumps([]))
    with pytest.raises(AnnotateError, match="cannot read the dataset .*saved: "):
        open_images(address)


def test_a_file_that_became_shorter_has_rows_that_cannot_be_read(tmp_path: Path) -> None:
    source = open_images(written(tmp_path / "a.parquet", table()))
    written(tmp_path / "a.parquet", table().slice(0, 1))
    with pytest.raises(PictureError, match="the file has changed and no longer has this row") as caught:
        source.reader.read(source.handles[2])
    assert caught.value.status == Status.UNREADABLE
