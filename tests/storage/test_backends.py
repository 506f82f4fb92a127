"""Which backend answers for an address, and when is it imported?"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from storage import (
    NotAStoreError,
    StoreError,
    backends,
    create_store,
    find_store,
    open_store,
)
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("labels.h5", "Hdf5Backend"),
        ("labels.hdf5", "Hdf5Backend"),
        ("labels.h5/", "Hdf5Backend"),
        ("labels.h5.zarr", "ZarrBackend"),
        ("h5", "ZarrBackend"),
    ],
)
def test_the_name_of_an_address_says_which_backend_it_is(tmp_path: Path, name: str, backend: str) -> None:
    address = f"{tmp_path}/{name}"
    assert type(create_store(address, SCHEMA, KEYS).backend).__name__ == backend
    assert type(open_store(address).backend).__name__ == backend
    assert type(find_store(address).backend).__name__ == backend


def test_a_scheme_chooses_a_backend_as_a_suffix_does(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(backends._BACKENDS[0], suffixes=(), schemes=("other://",))
    monkeypatch.setattr(backends, "_BACKENDS", (other, *backends._BACKENDS))
    assert find_store("other://nothing-here/labels") is None
    with pytest.raises(StoreError, match="cannot use an address with another://"):
        find_store("another://nothing-here/labels")


def test_without_h5py_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (open_store, find_store, lambda address: create_store(address, SCHEMA, KEYS)):
        with pytest.raises(StoreError, match=r"labels\.h5: HDF5 stores need h5py: pip install 'tokenlabel\[hdf5\]'"):
            use(tmp_path / "labels.h5")
    assert create_store(tmp_path / "labels.zarr", SCHEMA, KEYS).pending() == SHARDS


def test_a_backend_is_imported_only_when_it_is_asked_for(tmp_path: Path) -> None:
    create_store(tmp_path / "labels.h5", SCHEMA, KEYS)
    create_store(tmp_path / "labels.zarr", SCHEMA, KEYS)
    for name, other in (("labels.h5", "zarr"), ("labels.zarr", "h5py")):
        program = (
            f"import storage, sys; storage.open_store({str(tmp_path / name)!r}); sys.exit({other!r} in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0, name


@pytest.mark.parametrize("name", ["labels.zarr", "labels.h5"])
def test_a_link_that_leads_to_nothing_is_an_error_that_says_where_it_leads(tmp_path: Path, name: str) -> None:
    """As where a store's disk is away. Neither is it missing, nor is a store made behind it."""
    link, disk = tmp_path / name, tmp_path / "disk"
    link.symlink_to(disk / name)
    for use in (open_store, find_store, lambda address: create_store(address, SCHEMA, KEYS)):
        for address in (link, f"{link}/"):
            with pytest.raises(NotAStoreError, match=f"is a symbolic link to {disk}/{name}, and nothing is there. If"):
                use(address)
    assert not disk.exists()
    disk.mkdir()
    create_store(disk / name, SCHEMA, KEYS)
    assert open_store(link).pending() == SHARDS
