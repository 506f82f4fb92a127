"""Does what is packed into little take no more memory than the header says that a label or a shard has?"""

from __future__ import annotations

import json
import re
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
import zstandard

from storage import (
    DamageError,
    LabelStore,
    Publication,
    Schema,
    create_store,
    finalize,
    open_store,
    repair_steps,
    verify,
)
from storage.encoding.checksum import checksum
from storage.keys.key_index import EMPTY
from storage.record import most_bytes
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS
from tests.storage.hostile.test_forged import forge_header, forge_record

_MUCH = 2**24  # bytes that reading a store of ten labels must never take


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < _MUCH, most


def real_bomb(size: int) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(bytes(size))


def false_bomb(size: int) -> bytes:
    """A frame that only says that it holds so much."""
    return bytes.fromhex("28b52ffde0") + struct.pack("<Q", size) + b"\1\0\0"


def silent_bomb(size: int) -> bytes:
    """A frame that does not say how much it holds."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))


BOMBS = [real_bomb(2**28), false_bomb(2**50), silent_bomb(2**28)]


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
@pytest.mark.parametrize("frame", BOMBS, ids=["real", "false", "silent"])
@pytest.mark.parametrize("name", ["classes", "scores"])
def test_a_chunk_that_holds_gigabytes_is_damage(full: LabelStore, address: Path, name: str, frame: bytes) -> None:
    path = address / f"{name}/c/0/0/0/0"
    index = struct.pack("<8Q", 0, len(frame), *[0, len(frame)] * 3)
    data = frame + index + checksum(index)
    path.write_bytes(data)
    record = open_store(address).record(0)
    assert record is not None
    digest = sha256(data).hexdigest()
    forge_record(address, 0, {"objects": {**record.objects, f"{name}/c/0/0/0/0": digest}})
    store = open_store(address)
    for read in (lambda: store[0], lambda: store.read([0])):
        with little_memory(), pytest.raises(DamageError, match=r"shard 0 in .*labels\.zarr|cannot have|truncated"):
            read()
    with little_memory():
        assert verify(open_store(address), deep=True).shards[0].state == "damaged"


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
@pytest.mark.parametrize("frame", BOMBS, ids=["real", "false", "silent"])
@pytest.mark.parametrize("name", ["keys", "targets"])
def test_a_column_that_holds_gigabytes_is_damage(full: LabelStore, address: Path, name: str, frame: bytes) -> None:
    (address / name / "c/0").write_bytes(frame)
    with little_memory(), pytest.raises(DamageError, match=f"{name} of .* is damaged: a chunk says that it holds"):
        len(getattr(open_store(address), name))


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
def test_keys_that_say_that_they_are_billions_are_damage(full: LabelStore, address: Path) -> None:
    (address / "keys/c/0").write_bytes(zstandard.compress(b"\xff\xff\xff\x7f"))
    with little_memory(), pytest.raises(DamageError, match="says that it holds 2,147,483,647 strings, not 10"):
        len(open_store(address).keys)


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
def test_an_object_of_a_terabyte_is_damage(full: LabelStore, address: Path) -> None:
    for name in ("classes/c/0/0/0/0", "boxes/c/1/0"):
        with (address / name).open("r+b") as file:
            file.truncate(2**40)
    with little_memory():
        found = verify(open_store(address))
        for row in (0, 5):
            with pytest.raises(DamageError):
                open_store(address).read([row])
    assert [report.state for report in found.shards] == ["damaged", "damaged", "ok"]


def _enlarge(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
@pytest.mark.parametrize("name", ["keys", "targets", "key_index/digests", "key_index/slots"])
def test_a_column_of_a_terabyte_is_damage(full: LabelStore, address: Path, name: str) -> None:
    _enlarge(address / name / "c/0")
    with little_memory():
        found = verify(open_store(address))
    what = "key index" if name.startswith("key_index") else f"{name}/c/0 of .* has 1,099,511,627,776 bytes; it may have"
    assert re.search(what, found.describe())
    assert found.state == "damaged"


def test_a_manifest_of_a_terabyte_is_damage(full: LabelStore, address: Path) -> None:
    finalize(full, Publication(name="tests", source="the tests", licence="CC0-1.0"))
    _enlarge(address / "MANIFEST.sha256")
    with little_memory():
        (found,) = verify(open_store(address)).shared
    assert re.fullmatch(r"MANIFEST\.sha256 of .* has 1,099,511,627,776 bytes; it may have [0-9,]+", found)


def test_a_file_beside_the_others_is_not_read_whole(full: LabelStore, address: Path) -> None:
    finalize(full, Publication(name="tests", source="the tests", licence="CC0-1.0"))
    for name, size in (("notes.bin", 2**26), ("more.bin", 2**40)):
        with (address / name).open("wb") as file:
            file.truncate(size)
        with (address / "MANIFEST.sha256").open("a") as manifest:
            manifest.write(f"{'0' * 64}  {name}\n")
        with little_memory():
            found = verify(open_store(address)).shared
        assert any(line.startswith(name) for line in found), found
    assert "more.bin of" in found[-1]


@pytest.mark.parametrize("address", ["h5"], indirect=True)
def test_a_terabyte_after_the_end_of_an_hdf5_file_is_damage(full: LabelStore, address: Path) -> None:
    _enlarge(address / "store.h5")
    with little_memory():
        (found,) = verify(open_store(address)).shared
    assert found == "store.h5 is not what was written: its SHA-256 does not match"


def test_a_header_of_a_million_empty_lists_is_damage(full: LabelStore, address: Path) -> None:
    """Each takes 64 bytes, and 3 in the file."""
    forge_header(address, {"schema.provenance": {"a": [[]] * 2**20}})
    with little_memory(), pytest.raises(DamageError, match="the header of .* is damaged: .*at most 1,048,576 are read"):
        open_store(address)


def test_a_record_of_many_empty_lists_is_damage(tmp_path: Path) -> None:
    """Each takes 64 bytes, and 3 in the file."""
    for suffix in ("zarr", "h5"):
        address, rows = tmp_path / f"labels.{suffix}", 1024
        schema = Schema(grid=(1, 1), k=1, class_count=70, rows_per_shard=rows)
        store = create_store(address, schema, [f"{row}.jpg" for row in range(rows)])
        store.write(range(rows), random_labels(np.random.default_rng(0), rows, grid=(1, 1), k=1, class_count=70))
        forge_record(address, 0, {"failures": [[]] * 2**19})
        with (
            little_memory(),
            pytest.raises(DamageError, match="the commit record .*524,292 objects and lists; at most 66,560"),
        ):
            open_store(address).record(0)


def test_a_record_may_have_as_much_in_the_largest_shard() -> None:
    """A shard of which only the header says that it has so many rows."""
    assert [most_bytes(rows) for rows in (1, 1024, 2**14, 2**20, 2**34)] == [69_632, 4_259_840, *[2**26] * 3]


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
def test_metadata_of_a_terabyte_or_of_a_million_lists_are_damage(full: LabelStore, address: Path) -> None:
    (address / "classes/zarr.json").write_text(json.dumps([[]] * (2**20 + 1)))
    _enlarge(address / "scores/zarr.json")
    with little_memory():
        found = verify(open_store(address)).shared
    assert found == (
        "classes/zarr.json is not what follows from the header",
        "scores/zarr.json is not what follows from the header",
    )
    _enlarge(address / "zarr.json")
    with little_memory(), pytest.raises(DamageError, match=r"zarr\.json of .* has 1,099,511,627,776 bytes"):
        open_store(address)


def test_shards_that_only_the_header_has_take_no_memory(full: LabelStore, address: Path) -> None:
    finalize(full, Publication(name="tests", source="the tests", licence="CC0-1.0"))
    forge_header(address, {"rows": 2**22, "schema.rows_per_shard": 1})
    with little_memory():
        found = verify(open_store(address))
        assert "4,194,304 shards: 0 ok, 3 damaged, 4,194,301 pending" in found.describe()
    assert len(found.shards) == 2**22
    assert (found.shards[-1].rows, found.shards[-1].state) == (range(2**22 - 1, 2**22), "pending")
    assert len(repair_steps(found)) == 5


@pytest.mark.parametrize("address", ["h5"], indirect=True)
@pytest.mark.parametrize("change", ["shape", "packed", "chunks", "never written", "unchecked"])
@pytest.mark.parametrize("name", ["classes", "status"])
def test_hdf5_arrays_of_another_shape_or_packing_are_damage(
    full: LabelStore, address: Path, name: str, change: str
) -> None:
    path = address / "shards/000000.h5"
    packed = {"compression": "gzip", "shuffle": True} if name == "classes" else {}
    with h5py.File(path, "r+") as file:
        values = file[name][:]
        del file[name]
        chunk = (1, *values.shape[1:]) if name == "classes" else values.shape
        if change == "shape":
            file.create_dataset(name, (2**40, *values.shape[1:]), values.dtype, chunks=chunk, fletcher32=True)
        elif change == "never written":
            file.create_dataset(name, values.shape, values.dtype, chunks=chunk, fletcher32=True, **packed)
        elif change == "packed":
            file.create_dataset(name, data=values, chunks=chunk, fletcher32=True, compression="lzf")
        elif change == "chunks":
            file.create_dataset(name, data=values, chunks=(2, *chunk[1:]), fletcher32=True, **packed)
        else:
            file.create_dataset(name, data=values, chunks=chunk, **packed)
    with little_memory():
        with pytest.raises(DamageError, match=r"000000\.h5 (is|belongs to another store)"):
            open_store(address).read([0])
        assert verify(open_store(address)).shards[0].state == "damaged"


@pytest.mark.parametrize("address", ["h5"], indirect=True)
def test_an_hdf5_chunk_that_unpacks_to_more_than_a_label_is_damage(full: LabelStore, address: Path) -> None:
    """HDF5 doubles the room until all has found place in it; this is the most that it writes for so small a chunk."""
    with h5py.File(address / "shards/000000.h5", "r+") as file:
        file["classes"].id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(2**25)))
    with pytest.raises(DamageError, match="4 chunks of up to 3"):
        open_store(address).read([1])


@pytest.mark.parametrize("address", ["zarr"], indirect=True)
def test_a_key_index_without_a_free_slot_does_not_go_on_for_ever(full: LabelStore, address: Path) -> None:
    path = address / "key_index/slots/c/0"
    slots = np.frombuffer(path.read_bytes()[:-4], "<u4")
    assert (slots == EMPTY).any()
    path.write_bytes(np.zeros_like(slots).tobytes() + b"0000")
    with pytest.raises(Exception, match="no row for the key|no free slot"):
        open_store(address).find("nothing.jpg")
    assert open_store(address).find(KEYS[0]) == 0
