"""Is a file that is not a label named, and does nothing in it do harm?"""

from __future__ import annotations

import io
import math
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from annotate.exchange import label_file
from storage import (
    Status,
    open_store,
    verify,
)
from tests.annotate.exchange.collection import Collection, a_label, a_picture, save, wrong


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("how", ["zip", "legacy", "pickle"])
def test_code_in_a_label_file_is_refused_and_not_run(one_wrong: Collection, how: str, protocol: int) -> None:
    marker = one_wrong.root / "marker"
    evil = Evil(marker)
    if how == "pickle":
        wrong(one_wrong).write_bytes(pickle.dumps(evil, protocol=protocol))
    else:
        save(evil, wrong(one_wrong), _use_new_zipfile_serialization=how == "zip", pickle_protocol=protocol)
    status, reason = one_wrong.failure()
    assert status == "refused"
    assert reason.startswith("cat/c.pt holds code or types that a label does not need")
    assert not marker.exists()
    torch.load(wrong(one_wrong), weights_only=False) if how != "pickle" else pickle.loads(wrong(one_wrong).read_bytes())
    assert marker.exists(), "this test could not have failed"


def test_a_type_that_no_label_needs_is_named(one_wrong: Collection) -> None:
    save(a_label().numpy(), wrong(one_wrong))
    status, reason = one_wrong.failure()
    assert status == "refused"
    assert "(numpy" in reason
    assert len(reason) < 200


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_a_label_file_that_is_cut_short_is_named(one_wrong: Collection, zipped: bool, part: float) -> None:
    save(a_label(), wrong(one_wrong), _use_new_zipfile_serialization=zipped)
    data = wrong(one_wrong).read_bytes()
    wrong(one_wrong).write_bytes(data[: int(part * len(data))])
    status, reason = one_wrong.failure()
    assert status == "undecodable"
    assert reason.startswith("cat/c.pt is ")
    assert len(reason) < 200


def test_bytes_that_are_something_else_are_named(one_wrong: Collection) -> None:
    a_picture(wrong(one_wrong))
    assert one_wrong.failure() == ("undecodable", "cat/c.pt is not a file that torch.save wrote")


def test_a_bit_that_has_changed_on_its_way_is_noticed(one_wrong: Collection) -> None:
    """torch.load itself would not notice."""
    label = a_label()
    save(label, wrong(one_wrong))
    data = bytearray(wrong(one_wrong).read_bytes())
    data[data.find(label.numpy().tobytes())] ^= 1
    wrong(one_wrong).write_bytes(data)
    assert not torch.equal(torch.load(wrong(one_wrong)), label)
    assert one_wrong.failure() == ("undecodable", "cat/c.pt is damaged: its bytes fail their own CRC-32")


def _with(label: torch.Tensor, place: tuple[int, ...], value: float) -> torch.Tensor:
    label = label.clone()
    label[place] = value
    return label


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (a_label(dtype=torch.float32), "holds float32 [2, 3, 4, 6], where float16 [2, k, h, w] is expected"),
        (a_label().long(), "holds int64"),
        (a_label()[0], "holds float16 [3, 4, 6]"),
        (a_label()[:1], "holds float16 [1, 3, 4, 6]"),
        (a_label()[:, :0], "holds float16 [2, 0, 4, 6]"),
        (a_label().bfloat16(), "holds bfloat16 [2, 3, 4, 6]"),
        (a_label().to_sparse(), "holds a Tensor, where one plain tensor is expected"),
        ({"label": a_label()}, "holds a dict, where one plain tensor is expected"),
        (a_label().to("meta"), "holds a Tensor, where one plain tensor is expected"),
        (a_label(k=2), "has a grid of 4x6 with 2 classes at each location; the other labels have a grid of 4x6 with 3"),
        (
            a_label(grid=(6, 4)),
            "has a grid of 6x4 with 3 classes at each location; the other labels have a grid of 4x6",
        ),
        (_with(a_label(), (0, 0, 1, 2), math.nan), "holds a logit that is not finite: nan"),
        (_with(a_label(), (0, 0, 1, 2), math.inf), "holds a logit that is not finite: inf"),
        (_with(a_label(), (1, 0, 1, 2), math.nan), "holds the class id nan, where whole numbers from 0 to 49"),
        (_with(a_label(), (1, 0, 1, 2), math.inf), "holds the class id inf"),
        (_with(a_label(), (1, 0, 1, 2), 2.5), "holds the class id 2.5"),
        (_with(a_label(), (1, 0, 1, 2), -1), "holds the class id -1"),
        (_with(a_label(), (1, 0, 1, 2), 50), "holds the class id 50, where whole numbers from 0 to 49 are expected"),
        (_with(a_label(), (1, slice(0, 2), 1, 2), 7), "holds the class id 7 twice at one location"),
    ],
)
def test_what_is_not_a_label_is_a_row_with_a_reason(one_wrong: Collection, label: object, reason: str) -> None:
    save(label, wrong(one_wrong))
    status, found = one_wrong.failure()
    assert status == "undecodable"
    assert found.startswith(f"cat/c.pt {reason}")
    store = open_store(one_wrong.store)
    assert store.column("status").tolist() == [0, 0, Status.UNDECODABLE, 0, 0]
    assert verify(store, deep=True).state == "ok"


def test_a_parameter_is_a_tensor(one_wrong: Collection) -> None:
    save(torch.nn.Parameter(a_label()), wrong(one_wrong))
    assert one_wrong.bring_in().complete


def test_a_picture_without_a_label_file_is_missing(one_wrong: Collection) -> None:
    assert one_wrong.failure() == ("missing", "there is no label file cat/c.pt")


def test_a_large_file_is_refused_without_being_loaded(one_wrong: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(file: io.BytesIO, **options: object) -> torch.Tensor:
        assert len(file.getvalue()) < 2**20
        return original(file, **options)

    original = torch.load
    monkeypatch.setattr(torch, "load", load)
    with open(wrong(one_wrong), "wb") as file:
        file.truncate(label_file.MAX_BYTES + 1)
    status, reason = one_wrong.failure()
    assert (status, reason) == ("refused", "cat/c.pt has 67,108,865 bytes; a label has at most 67,108,864")


def test_a_small_file_that_inflates_is_refused(one_wrong: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_file, "MAX_BYTES", 100_000)
    save(torch.zeros(2, 3, 100, 100, dtype=torch.float16), wrong(one_wrong))
    with zipfile.ZipFile(wrong(one_wrong)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(wrong(one_wrong), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    assert wrong(one_wrong).stat().st_size < 5000
    assert torch.load(wrong(one_wrong)).nbytes == 120_000
    real, inflated = torch.load, []

    def load(file: io.BytesIO, **options: object) -> torch.Tensor:
        loaded: torch.Tensor = real(file, **options)
        inflated.append(loaded.nbytes > 100_000)
        return loaded

    monkeypatch.setattr(torch, "load", load)
    status, reason = one_wrong.failure()
    assert status == "refused"
    assert reason.startswith("cat/c.pt unfolds to 12")
    assert not any(inflated), "it was refused only after it had been loaded"


def test_one_number_that_claims_to_be_many_is_refused(one_wrong: Collection) -> None:
    save(torch.zeros(1, dtype=torch.float16).expand(2, 3, 10**5, 10**5), wrong(one_wrong))
    status, reason = one_wrong.failure()
    assert (status, reason) == (
        "refused",
        "cat/c.pt unfolds to 120,000,000,000 bytes; a label has at most 67,108,864",
    )


@pytest.mark.parametrize("target", ["a.pt", "nowhere.pt"])
def test_links_are_refused_even_to_another_label(one_wrong: Collection, target: str) -> None:
    wrong(one_wrong).symlink_to(target)
    status, reason = one_wrong.failure()
    assert (status, reason) == ("refused", "cat/c.pt is a link, or lies behind one that leaves the tree")


def test_a_folder_that_is_a_link_out_of_the_tree_is_refused(collection: Collection) -> None:
    collection.labelled("cat/a.jpg")
    collection.picture("dog/b.jpg")
    save(a_label(), collection.root / "elsewhere/b.pt")
    (collection.tree / "dog").symlink_to(collection.root / "elsewhere")
    assert collection.failure() == ("refused", "dog/b.pt is a link, or lies behind one that leaves the tree")


def test_a_folder_that_is_a_link_within_the_tree_is_followed(collection: Collection) -> None:
    collection.labelled("cat/a.jpg")
    collection.picture("dog/a.jpg")
    (collection.tree / "dog").symlink_to("cat")
    assert collection.bring_in().complete


def test_pipes_and_folders_are_not_label_files(one_wrong: Collection) -> None:
    (one_wrong.tree / "cat/a.pt").unlink()
    os.mkfifo(one_wrong.tree / "cat/a.pt")
    wrong(one_wrong).mkdir()
    assert one_wrong.bring_in().failures == (
        ("cat/a.jpg", "unreadable", "cat/a.pt is not a regular file"),
        ("cat/c.jpg", "unreadable", "cat/c.pt: Is a directory"),
    )


def test_a_picture_that_cannot_be_opened_is_a_row(one_wrong: Collection) -> None:
    save(a_label(), wrong(one_wrong))
    (one_wrong.images / "cat/c.jpg").write_bytes(b"no picture")
    assert one_wrong.failure() == ("undecodable", "the picture: not a picture of a known type")


def test_a_wrong_first_file_does_not_decide_the_grid(collection: Collection) -> None:
    collection.labelled("b.jpg", "c.jpg")
    collection.picture("a.jpg")
    save(_with(a_label(k=2), (0, 0, 0, 0), math.nan), collection.tree / "a.pt")
    assert collection.bring_in().labelled == 2
