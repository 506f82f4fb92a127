"""Does an HDF5 store read the values that its own files hold, and none of another file's?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from storage import DamageError, LabelStore, StoreError, copy, open_store, verify

Change = Callable[[h5py.File, str, Path], None]


def _external_storage(file: h5py.File, name: str, private: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    size = int(np.prod(shape)) * dtype.itemsize
    file.create_dataset(name, shape, dtype, external=[(str(private), 0, size)])


def _virtual(file: h5py.File, name: str, private: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(f"{private}.h5", "secret", shape)
    file.create_virtual_dataset(name, layout)


def _link(file: h5py.File, name: str, private: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink(f"{private}.h5", "secret")


def _link_by_way_of_another(file: h5py.File, name: str, private: Path) -> None:
    del file[name]
    file["aside"] = h5py.ExternalLink(f"{private}.h5", "/")
    file[name] = h5py.SoftLink("/aside/secret")


CHANGES: list[Change] = [_external_storage, _virtual, _link, _link_by_way_of_another]


@pytest.fixture
def address(tmp_path: Path) -> Path:
    return tmp_path / "labels.h5"


@pytest.fixture
def private(full: LabelStore, address: Path, tmp_path: Path) -> Path:
    """A file of bytes, and beside it an HDF5 file with a dataset as long as the store's largest."""
    path = tmp_path / "private"
    path.write_bytes(b"\0\1" * 50_000)
    return path


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["classes", "scores", "boxes", "sizes", "status"])
def test_a_shard_with_values_of_another_file_is_refused(
    full: LabelStore, address: Path, private: Path, tmp_path: Path, name: str, change: Change
) -> None:
    with h5py.File(address / "shards/000001.h5", "r+") as file:
        with h5py.File(f"{private}.h5", "w") as other:
            file.copy(name, other, "secret")  # its chunks and filters, too
        change(file, name, private)
    for read in (lambda store: store.read([5]), lambda store: store[5], lambda store: store.column("status")):
        with pytest.raises(DamageError, match=r"000001\.h5"):
            read(open_store(address))
    assert verify(open_store(address)).shards[1].state == "damaged"
    with pytest.raises(DamageError):
        copy(open_store(address), str(tmp_path / "copy.zarr"))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["keys", "targets", "key_index/digests", "key_index/slots"])
def test_the_shared_file_with_values_of_another_file_is_refused(
    full: LabelStore, address: Path, private: Path, name: str, change: Change
) -> None:
    with h5py.File(address / "store.h5", "r+") as file:
        with h5py.File(f"{private}.h5", "w") as other:
            file.copy(name, other, "secret")  # its chunks and filters, too
        change(file, name, private)
    store = open_store(address)
    uses = {"keys": lambda: store.keys, "targets": lambda: store.targets}
    with pytest.raises(StoreError, match=r"other files|another file|not in|a link"):
        uses.get(name, lambda: store.find("class 0/é 0.v1.jpg"))()
    assert verify(open_store(address)).state == "damaged"


def test_a_link_to_another_name_in_the_same_file_is_followed(full: LabelStore, address: Path) -> None:
    with h5py.File(address / "store.h5", "r+") as file:
        file.move("keys", "names/of/rows")
        file["names/all"] = h5py.SoftLink("of/rows")
        file["keys"] = h5py.SoftLink("/names/all")
    assert len(open_store(address).keys) == 10
