"""Is a list read as it says, and is what it cannot mean refused by its line?"""

from __future__ import annotations

from pathlib import Path

import pytest

from annotate.errors import AnnotateError, PictureError
from annotate.images import open_images
from storage import Status


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_keys_are_the_paths_in_the_order_of_the_list(tmp_path: Path) -> None:
    source = open_images(write(tmp_path / "list.csv", 'path\nb/2.jpg\na 1\n\n"b/1, ü.jpg"\n'))
    assert (source.keys, source.targets, source.left_out) == (["b/2.jpg", "a 1", "b/1, ü.jpg"], None, 0)


def test_a_file_that_is_not_there_is_a_row_without_a_label(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"1")
    source = open_images(write(tmp_path / "list.csv", "path\n1.jpg\n2.jpg\n"))
    assert source.reader.read(source.handles[0]) == b"1"
    with pytest.raises(PictureError) as caught:
        source.reader.read(source.handles[1])
    assert caught.value.status == Status.MISSING


@pytest.mark.parametrize(
    ("name", "text", "targets", "names"),
    [
        ("a.csv", "path,label\n1,3\n2,-1\n3,\n", [3, -1, -1], None),
        ("a.csv", "\ufeffpath,label,more\r\n1,dog,x\r\n2,ant,y\r\n3,,z\r\n", [1, 0, -1], ("ant", "dog")),
        ("a.csv", "path,label\n1,3 lb\n2,2b\n3,v1.0\n", [1, 0, 2], ("2b", "3 lb", "v1.0")),
        ("a.csv", "path,label\n1,10\n2,007\n3,2\n", [10, 7, 2], None),
        ("a.jsonl", '{"path": "1", "label": "10"}\n{"path": "2", "label": "2"}\n{"path": "3"}\n', [10, 2, -1], None),
        ("a.csv", "path,label\n1,\n2,\n3,\n", None, None),
        ("a.csv", "path, label\n1, 3\n2,-1 \n3,  \n", [3, -1, -1], None),
        ("a.csv", "more ,path , label \nx,1, dog\ny,2,\tant\nz,3,dog \n", [1, 0, 1], ("ant", "dog")),
        ("a.jsonl", '{"path": "1", "label": 3}\n\n{"path": "2", "label": null}\r\n{"path": "3"}', [3, -1, -1], None),
        (
            "a.jsonl",
            '{"path": "1", "label": "b"}\n{"label": "a", "path": "2"}\n{"path": "3"}\n',
            [1, 0, -1],
            ("a", "b"),
        ),
        ("a.jsonl", '{"path": "1"}\n{"path": "2"}\n{"path": "3"}\n', None, None),
        ("a.jsonl", '{"path": "1", "label": ""}\n{"path": "2", "label": 0}\n{"path": "3"}\n', [-1, 0, -1], None),
        ("a.jsonl", '{"path": "1", "label": ""}\n{"path": "2", "label": "b"}\n{"path": "3"}', [-1, 0, -1], ("b",)),
        ("a.jsonl", '{"path": "1", "label": ""}\n{"path": "2", "label": ""}\n{"path": "3"}', None, None),
    ],
)
def test_labels_are_numbers_or_names_that_are_numbered_as_they_sort(
    tmp_path: Path, name: str, text: str, targets: list[int] | None, names: tuple[str, ...] | None
) -> None:
    source = open_images(write(tmp_path / name, text))
    assert (source.keys, source.targets, source.target_names) == (["1", "2", "3"], targets, names)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "a.csv begins with ''; its first line names the columns: path, or path,label"),
        ("a.csv", "1.jpg,0\n2.jpg,1\n", "a.csv begins with '1.jpg, 0'; its first line"),
        ("a.csv", "path,path\n", "begins with 'path, path'"),
        ("a.csv", "path,label, label\n", "begins with 'path, label, label'"),
        ("a.csv", "path\n", "the list .*a.csv names no picture"),
        (
            "a.csv",
            "path\na/1.jpg\n\n/etc/passwd\n",
            "line 4 of .*a.csv has the path '/etc/passwd'; a path is .* Put the",
        ),
        ("a.csv", "path\n../1.jpg\n", r"line 2 of .*a.csv has the path '\.\./1.jpg'; a path is relative to the list's"),
        ("a.csv", "path,label\n1.jpg,0\n2, b.jpg,1\n", "line 3 of .*a.csv has 3 fields, the first line has 2"),
        ("a.csv", "path,label\n1.jpg\n", "line 2 of .*a.csv has 1 fields"),
        (
            "a.csv",
            "path\n1.jpg\n2.jpg\n1.jpg\n",
            "line 4 of .* has the path '1.jpg', as does line 2; remove one of them",
        ),
        ("a.csv", "path,label\n1.jpg,-2\n", "line 2 of .* has the label -2; classes here are 0 to 2,147,483,647"),
        ("a.csv", 'path\n"1.jpg\n', "cannot read the list .*a.csv: .*; a list is UTF-8 text"),
        (
            "a.jsonl",
            '{"path": "1"}\n\n["2"]\n',
            r"line 3 of .*a.jsonl is not a JSON object with a \"path\": '\[\"2\"\]'",
        ),
        ("a.jsonl", '{"file": "1"}\n', 'line 1 of .*a.jsonl is not a JSON object with a "path"'),
        ("a.jsonl", '{"path": "1"\n', "line 1 of .*a.jsonl is not a JSON object"),
        ("a.jsonl", '{"path": 1}\n', "line 1 of .*a.jsonl has the path 1; a path is"),
        ("a.jsonl", '{"path": "\\ud800"}\n', r"line 1 of .*a.jsonl has the path '\\ud800'; a path is"),
        (
            "a.jsonl",
            '{"path": "1", "label": 1}\n{"path": "2", "label": "b"}\n',
            "line 2 of .* has the label 'b'; labels are",
        ),
        (
            "a.csv",
            "path,label\n1.jpg,0.0\n2.jpg,2.0\n3.jpg,10.0\n",
            "line 2 of .*a.csv has the label '0.0'; labels are whole numbers for all pictures, such as 2 and not 2.0",
        ),
        (
            "a.csv",
            "path,label\n1.jpg,3\n2.jpg,2b\n3.jpg,10\n",
            "line 3 of .*a.csv has the label '2b', and line 2 of .*a.csv has '3'; labels are .* Correct 1 labels",
        ),
        ("a.csv", "path,label\n1.jpg,cat\n2.jpg,911\n", "line 2 of .* has the label 'cat', and line 3 of .* has '911'"),
        ("a.csv", "path,label\n1.jpg,1\n2.jpg,nan\n", "line 3 of .* has the label 'nan', and line 2 of .* has '1'"),
        ("a.csv", "path,label\n1.jpg,1\n2.jpg,1e3\n", "line 3 of .* has the label '1e3', and line 2 of .* has '1'"),
        (
            "a.jsonl",
            '{"path": "1", "label": "2.0"}\n{"path": "2", "label": "10.0"}\n',
            "line 1 of .*a.jsonl has the label '2.0'; labels are whole numbers",
        ),
        ("a.jsonl", '{"path": "1", "label": true}\n', "line 1 of .* has the label True; labels are whole numbers"),
        ("a.jsonl", '{"path": "1", "label": 1.5}\n', "line 1 of .* has the label 1.5; labels are whole numbers"),
    ],
)
def test_what_a_list_cannot_mean_is_refused_by_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(AnnotateError, match=message):
        open_images(write(tmp_path / name, text))


def test_a_list_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("path\nü.jpg\n".encode("latin-1"))
    with pytest.raises(AnnotateError, match="cannot read the list .*a.csv: .*; a list is UTF-8 text"):
        open_images(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_line_of_gigabytes_is_refused_before_it_is_read_whole(tmp_path: Path, name: str) -> None:
    """The file has holes, so that it takes no room on the disk."""
    path = write(tmp_path / name, "path\n" if name == "a.csv" else '{"path": "1"}\n')
    with path.open("r+b") as file:
        file.truncate(2**36)
    with pytest.raises(AnnotateError, match=f"line 2 of .*{name} has more than 16,777,216 characters; a list has a"):
        open_images(path)
