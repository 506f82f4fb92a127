"""Where are the HDF5 stores of these tests, and how are they damaged?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.storage.contract.fixtures import StoreFixtures

ARRAYS = ("classes", "scores", "boxes", "sizes", "status")
NOT_WRITTEN = "store.h5 is not what was written: its SHA-256 does not match"


class Hdf5Fixtures(StoreFixtures):
    """A store in a temporary folder."""

    dies_in = "os:replace", 1

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return str(tmp_path / "labels.h5")

    @pytest.fixture
    def damage(self, address: str) -> Callable[[str, int], None]:
        def flip(what: str, place: int) -> None:
            name, shard = what.split("/")
            path = Path(address, "shards", f"{int(shard):06d}.h5")
            with h5py.File(path, locking=False) as file:  # the bytes of its chunks, one after the other
                array = file[name].id
                chunks = [array.get_chunk_info(n) for n in range(array.get_num_chunks())]
            places = [chunk.byte_offset + n for chunk in chunks for n in range(chunk.size)]
            flip_byte(path, places[place % len(places)])

        return flip

    @pytest.fixture
    def forget(self, address: str) -> Callable[[int], None]:
        return lambda shard: Path(address, "shards", f"{shard:06d}.h5").unlink()

    @pytest.fixture
    def age(self, address: str) -> Callable[[], None]:
        def change() -> None:
            with h5py.File(Path(address, "store.h5"), "r+") as file:
                text = file.attrs["tokenlabel"].replace(b'"format": 1', b'"format": 2')
                file.attrs["tokenlabel"] = np.bytes_(text)

        return change


def flip_byte(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))
