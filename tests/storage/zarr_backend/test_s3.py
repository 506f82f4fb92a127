"""Does a store in a bucket keep the contract, and what is true of it alone? Against a real server on this machine."""

from __future__ import annotations

import pickle
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from threading import Barrier

import numpy as np
import pytest
from obstore.exceptions import GenericError
from obstore.store import S3Store
from zarr.storage import ObjectStore

from storage import (
    DamageError,
    LabelMap,
    LabelStore,
    StoreError,
    UnreadableError,
    create_store,
    open_store,
    repair,
    verify,
)
from storage.record import Record
from tests import s3
from tests.labels import random_labels
from tests.storage.contract import StoreContract
from tests.storage.contract.contents import one_of_each_kind
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS


class _Refusing:
    """A bucket whose server fails for one object, each time."""

    def __init__(self, bucket: S3Store, name: str) -> None:
        self.bucket, self.name = bucket, name

    def get(self, name: str) -> object:
        if name == self.name:
            raise GenericError("503 Service Unavailable, after 10 retries")
        return self.bucket.get(name)

    def list_with_delimiter(self, prefix: str) -> object:
        return self.bucket.list_with_delimiter(prefix)


def _everything(bucket: S3Store) -> dict[str, bytes]:
    """Every object of a store, by name."""
    return {found["path"]: bytes(bucket.get(found["path"]).bytes()) for page in bucket.list() for found in page}


class TestZarrBackendInABucket(StoreContract):
    survives_a_fork = False
    flip_every = 60
    flips_each = 1

    def worth_damaging(self, store: LabelStore) -> list[str]:
        """One object of each kind that our reader reads; the metadata of arrays follow from the root's."""
        return [name for name in one_of_each_kind(store) if not name.endswith("/zarr.json")]

    worth_flipping = worth_damaging

    @pytest.fixture
    def address(self, server: str, monkeypatch: pytest.MonkeyPatch) -> str:
        for name, value in s3.environment(server).items():
            monkeypatch.setenv(name, value)
        return f"s3://{s3.BUCKET}/runs/{uuid.uuid4().hex}/labels.zarr"

    @pytest.fixture
    def bucket(self, address: str) -> S3Store:
        return S3Store(s3.BUCKET, prefix=address.removeprefix(f"s3://{s3.BUCKET}/"))

    @pytest.fixture
    def damage(self, bucket: S3Store) -> Callable[[str, int], None]:
        def flip(what: str, place: int) -> None:
            name, shard = what.split("/")
            (key,) = (
                found["path"]
                for page in bucket.list(f"{name}/c")
                for found in page
                if found["path"].startswith(f"{name}/c/{shard}/") or found["path"] == f"{name}/c/{shard}"
            )
            data = bytearray(bucket.get(key).bytes())
            data[place % len(data)] ^= 0x10
            bucket.put(key, bytes(data))

        return flip

    @pytest.fixture
    def forget(self, bucket: S3Store) -> Callable[[int], None]:
        return lambda shard: bucket.delete(f"shards/record/c/{shard}")

    @pytest.fixture
    def age(self, bucket: S3Store) -> Callable[[], None]:
        def reword() -> None:
            text = bytes(bucket.get("zarr.json").bytes())
            bucket.put("zarr.json", text.replace(b'"format": 1', b'"format": 2'))

        return reword

    @pytest.fixture
    def full_disk(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
        """The one thing that the server cannot be made to do: take so many objects, and refuse the next."""

        @contextmanager
        def limit(room: int) -> Iterator[None]:
            original, calls = ObjectStore.set, count()

            async def refusing(self: ObjectStore, key: str, value: object) -> None:
                if next(calls) >= room:
                    raise GenericError("Insufficient Storage\nand pages about retries")
                await original(self, key, value)

            with monkeypatch.context() as patch:
                patch.setattr(ObjectStore, "set", refusing)
                yield

        return limit

    def test_an_error_while_labels_are_replaced_says_that_they_may_be_gone(
        self, full: LabelStore, labels: LabelMap, full_disk: Callable[[int], AbstractContextManager[None]]
    ) -> None:
        words = "Insufficient Storage. These rows may be pending now, .* the same command continues here and writes"
        with full_disk(2), pytest.raises(StoreError, match=f"cannot write rows 4 to 8 of s3.*: {words}"):
            full.write(SHARDS[1], labels[4:8])
        assert full.pending() == [SHARDS[1]]
        full.write(SHARDS[1], labels[4:8])
        assert verify(full).state == "ok"

    @pytest.mark.parametrize("name", ["classes/c/1/0/0/0", "scores/c/1/0/0/0", "boxes/c/1/0", "status/c/1"])
    def test_an_object_that_is_gone_is_damage_and_not_a_map_full_of_nothing(
        self, full: LabelStore, address: str, bucket: S3Store, name: str
    ) -> None:
        bucket.delete(name)
        with pytest.raises(DamageError, match=f"{name} of .* is missing"):
            open_store(address).read([5])
        assert [report.state for report in verify(open_store(address)).shards] == ["ok", "damaged", "ok"]

    def test_a_column_that_is_larger_than_its_keys_is_damage(
        self, full: LabelStore, address: str, bucket: S3Store
    ) -> None:
        bucket.put("keys/c/0", bytes(2**25))
        with pytest.raises(DamageError, match=r"keys/c/0 of s3://.* has 33,554,432 bytes; it may have"):
            len(open_store(address).keys)

    def test_no_secret_is_in_an_error_a_record_or_a_pickle(
        self, full: LabelStore, address: str, server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        texts = [str(pickle.dumps(full)), full.record(0).to_text(), repr(vars(full)), repr(vars(full.backend))]
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        for use in (lambda: open_store(address).read([0]), lambda: create_store(address, SCHEMA, KEYS)):
            with pytest.raises(StoreError) as caught:
                use()
            texts.append(str(caught.value))
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:a-secret-of-the-tests@127.0.0.1:9")
        with pytest.raises(StoreError) as caught:
            open_store(address)
        texts.append(str(caught.value))
        assert not any("a-secret-of-the-tests" in text or "key-of-the-tests" in text for text in texts)

    def test_a_server_that_is_gone_is_not_damage(
        self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(StoreError, match="cannot (read|write)") as caught:
            open_store(address)
        assert not isinstance(caught.value, DamageError)
        assert "\n" not in str(caught.value)

    def test_an_object_that_the_server_does_not_give_is_unreadable_and_not_damaged(
        self, full: LabelStore, address: str, bucket: S3Store
    ) -> None:
        before = _everything(bucket)
        for name in ("classes/c/1/0/0/0", "shards/record/c/1"):
            store = open_store(address, writable=True)
            store.backend._objects._bucket = _Refusing(bucket, name)
            found = verify(store)
            assert [report.state for report in found.shards] == ["ok", "unreadable", "ok"]
            with pytest.raises(UnreadableError, match="nothing was repaired"):
                repair(store, found)
            with pytest.raises(UnreadableError):
                store.read([5])
            assert _everything(bucket) == before

    @pytest.mark.parametrize("name", ["classes", "scores", "sizes"])
    def test_swapped_objects_are_found_when_they_are_read(
        self, full: LabelStore, address: str, bucket: S3Store, name: str
    ) -> None:
        one, other = (next(n for n in _everything(bucket) if n.startswith(f"{name}/c/{shard}")) for shard in (0, 1))
        first, second = bytes(bucket.get(one).bytes()), bytes(bucket.get(other).bytes())
        bucket.put(one, second)
        bucket.put(other, first)
        for read in (lambda: open_store(address)[0], lambda: open_store(address).read([5])):
            with pytest.raises(DamageError, match=f"{name}/c/[01].* is not the object that its commit record names"):
                read()
        assert len(open_store(address).read([9])) == 1

    def test_a_repair_moves_what_a_damaged_shard_holds(
        self, full: LabelStore, address: str, bucket: S3Store, damage: Callable[[str, int], None]
    ) -> None:
        damage("scores/1", 40)
        before = _everything(bucket)
        store = open_store(address, writable=True)
        assert repair(store, verify(store)) == []
        after = _everything(bucket)
        assert {*before.values()} == {*after.values()}
        assert sorted(name.removeprefix("shards/set_aside/1/") for name in after) == sorted(before)
        assert open_store(address).pending() == [SHARDS[1]]

    def test_a_bucket_that_is_not_there_is_one_clear_message(self, address: str) -> None:
        with pytest.raises(StoreError, match="s3://no-such-bucket/labels.zarr"):
            create_store("s3://no-such-bucket/labels.zarr", SCHEMA, KEYS)

    def test_what_is_written_to_a_bucket_is_what_is_written_to_a_folder(
        self, full: LabelStore, bucket: S3Store, tmp_path
    ) -> None:
        local = create_store(tmp_path / "labels.zarr", SCHEMA, KEYS, list(range(10)))
        labels = random_labels(np.random.default_rng(0), 10)
        for rows in SHARDS:
            local.write(rows, labels[rows.start : rows.stop])
        assert list(full.backend.object_names()) == list(local.backend.object_names())
        for name in local.backend.object_names():
            if not name.startswith("shards/record/c/"):
                assert full.backend.read_object(name) == local.backend.read_object(name), name
        assert [full.record(n).objects for n in range(3)] == [local.record(n).objects for n in range(3)]

    def test_records_are_asked_for_at_once_and_come_in_order(
        self, full: LabelStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        together, record = Barrier(len(SHARDS), timeout=20), type(full).record

        def answer(store: LabelStore, shard: int) -> Record | None:
            together.wait()
            time.sleep(0.2 - 0.1 * shard)  # the first comes last
            return record(store, shard)

        expected = [record(full, shard) for shard in range(len(SHARDS))]
        monkeypatch.setattr(type(full), "record", answer)
        assert list(full.records()) == list(zip(SHARDS, expected, strict=True))

    def test_no_more_records_are_asked_for_than_a_few_ahead(
        self, full: LabelStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[int] = []
        monkeypatch.setattr("storage.store._AHEAD", 2)
        monkeypatch.setattr(type(full), "record", lambda store, shard: asked.append(shard) or shard)
        records = full.records()
        next(records)
        records.close()
        assert sorted(asked) == [0, 1]
        assert list(full.records()) == list(zip(SHARDS, range(3), strict=True))
