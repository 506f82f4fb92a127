"""What must every backend keep? One class of tests, which each backend's tests inherit."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from itertools import count
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import (
    DamageError,
    FormatError,
    KeyNotFoundError,
    LabelMap,
    LabelStore,
    MismatchError,
    NotAStoreError,
    NotLabelledError,
    Publication,
    Schema,
    Status,
    StoreError,
    copy,
    create_store,
    finalize,
    find_store,
    open_store,
    repair,
    verify,
)
from storage.keys import BLOCK
from storage.manifest import MANIFEST
from tests.labels import random_labels

SCHEMA = Schema(
    grid=(6, 5), k=3, class_count=40, rows_per_shard=4, recipe={"model": "resnet50", "input_size": [96, 80]}
)
KEYS = [f"class {n % 3}/é {n}.v1.jpg" for n in range(10)]
SHARDS = [range(4), range(4, 8), range(8, 10)]


class Alive:
    """How many keys there are now, and the most there were."""

    now = most = 0


class MadeKey(str):
    """A key that is counted as long as it lives."""

    def __new__(cls, text: str, alive: Alive) -> MadeKey:
        key = super().__new__(cls, text)
        key.alive = alive
        alive.now += 1
        alive.most = max(alive.most, alive.now)
        return key

    def __del__(self) -> None:
        self.alive.now -= 1


class MadeKeys(Sequence[str]):
    """The keys 0.jpg, 1.jpg, … but for some, each made when it is asked for, and not to be had all at once."""

    def __init__(self, rows: int, others: Mapping[int, str] = {}) -> None:
        self.rows, self.others, self.alive = rows, others, Alive()

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: Any) -> Any:
        if not isinstance(row, slice):
            return MadeKey(self.others.get(row, f"{row}.jpg"), self.alive)
        rows = range(self.rows)[row]
        assert len(rows) <= BLOCK
        return [self[row] for row in rows]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the keys were iterated over")


class StoreContract:
    """Subclasses give four fixtures.

    address: a fresh address
    damage:  (name of an array / number of a shard, place) -> None, flips a bit of a byte; the place counts round
    forget:  number of a shard -> None, removes its commit record
    age:     () -> None, makes the store say that it is of format 2

    A backend whose client does not survive a fork says so, and must then refuse to be used after one.
    """

    survives_a_fork = True
    flip_every = 5  # bytes; a bucket answers slowly
    dies_in = "storage.objects:Objects.set", 3  # a call in the midst of writing a shard, and which one

    @pytest.fixture
    def store(self, address: str) -> LabelStore:
        return create_store(address, SCHEMA, KEYS, list(range(10)))

    @pytest.fixture
    def labels(self) -> LabelMap:
        return random_labels(np.random.default_rng(0), 10)

    @pytest.fixture
    def full(self, store: LabelStore, labels: LabelMap) -> LabelStore:
        for rows in SHARDS:
            store.write(rows, labels[rows.start : rows.stop])
        return store

    def test_a_new_store_is_all_pending_and_holds_what_it_was_told(self, store: LabelStore, address: str) -> None:
        opened = open_store(address)
        assert opened.pending() == SHARDS
        assert opened.schema == SCHEMA
        assert list(opened.keys) == KEYS
        assert opened.targets.tolist() == list(range(10))
        assert set(opened.column("status").tolist()) == {Status.PENDING}

    def test_what_is_written_is_read(self, full: LabelStore, labels: LabelMap, address: str) -> None:
        read = open_store(address).read([9, 0, 5, 5])
        expected = labels[[9, 0, 5, 5]]
        known = read.scores > 0
        assert (read.classes[known] == expected.classes[known]).all()
        assert np.abs(read.scores - expected.scores).max() < 0.02
        assert (read.sizes == expected.sizes).all()
        assert (read.boxes == expected.boxes).all()
        assert (read.status == Status.LABELLED).all()

    def test_one_row_is_the_batch_of_it(self, full: LabelStore) -> None:
        for row in range(len(full)):
            one, batch = full[row], full.read([row])[0]
            assert one.kind == batch.kind
            for name in ("classes", "scores", "boxes", "sizes", "status"):
                mine, theirs = getattr(one, name), getattr(batch, name)
                assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
                assert mine.tobytes() == theirs.tobytes()

    def test_a_location_that_rounds_to_nothing_has_no_class(self, full: LabelStore) -> None:
        read = full.read(range(10))
        assert ((read.scores == 0) == (read.classes == 65535)).all()
        assert (read.scores[..., 1:] == 0).any()

    def test_rows_can_be_read_once_their_shard_is_committed_and_not_before(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        reader = open_store(address)
        store.write(SHARDS[1], labels[4:8])
        assert store.pending() == [SHARDS[0], SHARDS[2]]
        assert len(reader.read([4, 7])) == 2
        with pytest.raises(NotLabelledError, match="rows 0 to 4 .* have no labels yet"):
            reader.read([4, 3])

    def test_writing_a_shard_again_changes_nothing(self, full: LabelStore, labels: LabelMap) -> None:
        first = full.checksums(0)
        full.write(SHARDS[0], labels[0:4], run={"attempt": 2})
        assert full.checksums(0) == first
        assert verify(full).state == "ok"

    @pytest.mark.parametrize("rows", [range(1, 5), range(8), range(8, 12), range(3), range(0)])
    def test_only_whole_shards_are_written(self, store: LabelStore, rows: range) -> None:
        with pytest.raises(StoreError, match="a shard is written whole"):
            store.write(rows, random_labels(np.random.default_rng(0), len(rows) or 1))

    def test_labels_of_another_shape_are_refused(self, store: LabelStore) -> None:
        with pytest.raises(
            StoreError,
            match=r"given probability labels, classes uint16 \(4, 6, 5, 2\), and holds .* \(4, 6, 5, 3\)",
        ):
            store.write(SHARDS[0], random_labels(np.random.default_rng(0), 4, k=2))

    def test_a_row_without_a_label_keeps_its_status_and_reason(self, store: LabelStore, labels: LabelMap) -> None:
        failed = LabelMap.unlabelled(Status.UNDECODABLE, grid=(6, 5), k=3, class_count=40)
        mixed = LabelMap.stack([labels[0], failed, labels[2], labels[3]])
        record = store.write(SHARDS[0], mixed, reasons={1: "the file is empty"})
        assert (record.labelled, [(f.row, f.status, f.reason) for f in record.failures]) == (
            3,
            [(1, Status.UNDECODABLE, "the file is empty")],
        )
        assert store.record(0) == record
        read = store.read([1, 0])
        assert read.status.tolist() == [Status.UNDECODABLE, Status.LABELLED]
        assert not read.scores[0].any()
        assert verify(store).shards[0].problems == ()

    def test_a_row_without_a_label_and_a_reason_is_not_written(self, store: LabelStore) -> None:
        failed = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
        with pytest.raises(StoreError, match="row 9: it has no label, and no reason was given"):
            store.write(SHARDS[2], LabelMap.stack([failed] * 2), reasons={8: "gone"})
        assert store.pending() == SHARDS

    def test_a_shard_without_any_label_is_written_and_read(self, store: LabelStore) -> None:
        failed = LabelMap.unlabelled(Status.MISSING, grid=(6, 5), k=3, class_count=40)
        record = store.write(SHARDS[2], LabelMap.stack([failed] * 2), reasons={8: "gone", 9: "gone"})
        assert len(record.objects) == 5
        assert store.read([9]).status == [Status.MISSING]
        assert verify(store).shards[2].state == "ok"

    def test_what_is_not_committed_is_pending_in_every_column(
        self, full: LabelStore, address: str, forget: Callable[[int], None]
    ) -> None:
        forget(1)
        opened = open_store(address)
        assert opened.column("status").tolist() == [0] * 4 + [Status.PENDING] * 4 + [0] * 2
        assert not opened.column("sizes")[4:8].any()

    def test_find_gives_the_row_of_a_key(self, store: LabelStore) -> None:
        assert [store.find(key) for key in KEYS] == list(range(10))
        with pytest.raises(KeyNotFoundError, match="no row for the key 'nothing.jpg'"):
            store.find("nothing.jpg")
        with pytest.raises(KeyNotFoundError):
            store.find("\udcff.jpg")  # what os.listdir gives for a name that is no UTF-8

    def test_rows_that_do_not_exist_are_an_index_error(self, full: LabelStore) -> None:
        for rows in ([10], [-1]):
            with pytest.raises(IndexError):
                full.read(rows)
            with pytest.raises(IndexError):
                full[rows[0]]
        with pytest.raises(TypeError, match="integers, not float64"):
            full.read(np.array([1.5]))

    def test_creating_an_equal_store_opens_it(self, full: LabelStore, address: str) -> None:
        again = create_store(address, replace(SCHEMA, provenance={"torch": "9"}), KEYS)
        assert again.pending() == []
        assert (found := find_store(address)) is not None
        assert found.schema == SCHEMA

    def test_creating_another_store_over_it_names_every_difference(self, full: LabelStore, address: str) -> None:
        other = replace(SCHEMA, k=2, grid=(3, 5), recipe={"model": "vgg", "input_size": [96, 80]})
        with pytest.raises(MismatchError) as caught:
            create_store(address, other, [*KEYS[:-1], "other.jpg"])
        assert caught.value.differences == (
            "grid: the store has [6, 5], this run has [3, 5]",
            "k: the store has 3, this run has 2",
            'recipe.model: the store has "resnet50", this run has "vgg"',
            "keys: in row 9 the store has 'class 0/é 9.v1.jpg', this run has 'other.jpg'",
        )

    @pytest.mark.parametrize(
        "key", ["", "/a.jpg", "a//b.jpg", "../a.jpg", "a/../b.jpg", "./a.jpg", "a\0b", "a\udc80.jpg"]
    )
    def test_keys_that_name_nothing_below_a_root_are_refused(self, address: str, key: str) -> None:
        with pytest.raises(StoreError, match="row 1 has the key"):
            create_store(address, SCHEMA, ["fine..jpg", key])

    def test_a_key_may_not_come_twice(self, address: str) -> None:
        with pytest.raises(StoreError, match="row 2 has the key 'a.jpg' again"):
            create_store(address, SCHEMA, ["a.jpg", "b.jpg", "a.jpg"])

    def test_repeated_keys_far_apart_are_found(self, address: str) -> None:
        keys = MadeKeys(BLOCK + 20, {BLOCK + 10: "3.jpg", BLOCK + 15: "1.jpg"})
        with pytest.raises(
            StoreError, match=f"row {BLOCK + 10} has the key '3.jpg' again; every key must name one pic"
        ):
            create_store(address, SCHEMA, keys)
        assert find_store(address) is None

    def test_keys_are_made_when_they_are_asked_for_and_held_a_block_at_a_time(self, address: str) -> None:
        keys = MadeKeys(3 * BLOCK + 1)
        store = create_store(address, replace(SCHEMA, rows_per_shard=BLOCK), keys)
        assert keys.alive.most <= 2 * BLOCK  # a block is dropped when the next one has been made
        expected = [f"{row}.jpg" for row in range(len(keys))]
        text = "".join(f"{key}\0" for key in expected)
        assert store.header.keys_sha256 == hashlib.sha256(text.encode()).hexdigest()
        assert list(open_store(address).keys) == expected
        assert [store.find(expected[row]) for row in (0, BLOCK, 3 * BLOCK)] == [0, BLOCK, 3 * BLOCK]

    def test_going_on_with_equal_keys_does_not_load_those_that_are_stored(
        self, full: LabelStore, address: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(type(full), "load_keys", lambda self: pytest.fail("the stored keys were loaded"))
        assert create_store(address, SCHEMA, tuple(KEYS)).pending() == []

    @pytest.mark.parametrize(
        ("keys", "sentence"),
        [
            (
                KEYS[:-1],
                f"has 10, this run has 9; 1 are in only one of them, the first, {KEYS[9]!r}, in the store",
            ),
            ([*KEYS, "a.jpg"], "has 10, this run has 11; 1 are in only one of them, the first, 'a.jpg', in this run"),
            ([*KEYS, KEYS[0]], "has 10, this run has 11"),
        ],
    )
    def test_another_number_of_keys_is_told_with_the_first_that_only_one_has(
        self, store: LabelStore, address: str, keys: list[str], sentence: str
    ) -> None:
        with pytest.raises(MismatchError) as caught:
            create_store(address, SCHEMA, keys)
        assert caught.value.differences == (f"keys: the store {sentence}",)

    def test_a_store_travels_by_its_address(self, full: LabelStore) -> None:
        full.read([0])
        payload = pickle.dumps(full)
        assert len(payload) < 500
        assert (pickle.loads(payload).read([3]).classes == full.read([3]).classes).all()

    @pytest.mark.parametrize(("method", "workers"), [("fork", 8), ("spawn", 2)])
    def test_it_can_be_read_in_child_processes(self, full: LabelStore, method: str, workers: int) -> None:
        expected = full.read([9]).classes.tolist()
        context = get_context(method)
        answers: Queue[object] = context.Queue()
        children = [context.Process(target=_read_last, args=(full, answers)) for _ in range(workers)]
        for child in children:
            child.start()
        found = [answers.get(timeout=60) for _ in children]
        for child in children:
            child.join()
        if method == "fork" and not self.survives_a_fork:
            assert all('start workers with "spawn"' in str(answer) for answer in found)
        else:
            assert all(answer == expected for answer in found)

    def test_different_shards_can_be_written_at_once(self, store: LabelStore, labels: LabelMap) -> None:
        with get_context("spawn").Pool(3) as pool:
            pool.starmap(_write, [(store, rows, labels[rows.start : rows.stop]) for rows in SHARDS])
        assert [report.state for report in verify(store).shards] == ["ok"] * 3

    def test_damage_is_found_and_never_served(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        for name in ("classes", "scores", "boxes", "status"):
            for shard, rows in enumerate(SHARDS):
                good = full.read(rows)
                damage(f"{name}/{shard}", 3)
                states = [report.state for report in verify(open_store(address)).shards]
                assert states[shard] == "damaged", (name, shard)
                try:
                    served = open_store(address).read(rows)
                except StoreError:
                    pass
                else:  # the byte was of a row's neighbour, or of nothing
                    assert (served.classes == good.classes).all()
                damage(f"{name}/{shard}", 3)
        assert [report.state for report in verify(open_store(address)).shards] == ["ok"] * 3

    def test_no_byte_of_a_shard_can_change_a_label(
        self, full: LabelStore, address: str, damage: Callable[[str, int], None]
    ) -> None:
        """Bytes of chunks, of their checksums and of the index, some hundreds of them, each flipped alone."""
        good = full.read(SHARDS[0])
        for place in range(0, 600, self.flip_every):
            damage("classes/0", place)
            try:
                served = open_store(address).read(SHARDS[0])
            except DamageError:
                pass
            else:
                assert (served.classes == good.classes).all(), place
            for row in SHARDS[0]:
                with suppress(DamageError):
                    assert (open_store(address)[row].classes == good.classes[row]).all(), place
            damage("classes/0", place)

    def test_a_store_opened_for_reading_is_never_written_to(
        self, full: LabelStore, labels: LabelMap, address: str
    ) -> None:
        reader = open_store(address)
        uses: list[Callable[[], object]] = [
            lambda: reader.write(SHARDS[0], labels[0:4]),
            lambda: reader.forget(0),
            lambda: reader.mend(),
            lambda: reader.write_object("README.md", b"mine"),
            lambda: reader.delete_object("README.md"),
        ]
        for use in uses:
            with pytest.raises(StoreError, match="it was opened for reading"):
                use()
        assert verify(reader).state == "ok"

    def test_a_newer_format_is_refused_by_name(self, full: LabelStore, address: str, age: Callable[[], None]) -> None:
        age()
        for opener in (open_store, find_store):
            with pytest.raises(FormatError, match="its format is 2, this version of tokenlabel reads format 1"):
                opener(address)

    def test_a_shard_that_is_forgotten_can_be_written_again(
        self, full: LabelStore, labels: LabelMap, address: str
    ) -> None:
        before = full.checksums(1)
        full.forget(1)
        assert open_store(address).pending() == [SHARDS[1]]
        with pytest.raises(NotLabelledError):
            full.read([4])
        full.write(SHARDS[1], labels[4:8])
        assert full.checksums(1) == before

    def test_a_writer_killed_in_the_midst_of_a_shard_harms_nothing(
        self, store: LabelStore, labels: LabelMap, address: str
    ) -> None:
        store.write(SHARDS[0], labels[0:4])
        victim = get_context("spawn").Process(target=_die_writing, args=(store, SHARDS[1], labels[4:8], *self.dies_in))
        victim.start()
        victim.join(timeout=60)
        assert victim.exitcode == -signal.SIGKILL
        assert open_store(address).pending() == SHARDS[1:]
        assert [report.state for report in verify(open_store(address)).shards] == ["ok", "pending", "pending"]
        store.write(SHARDS[1], labels[4:8])
        undisturbed = open_store(address).read(SHARDS[1])
        assert (undisturbed.sizes == labels[4:8].sizes).all()
        assert list(store.object_names()) == list(dict.fromkeys(store.object_names()))
        assert verify(store).state == "pending"

    def test_a_disk_that_fills_up_in_the_midst_of_a_shard_loses_nothing(
        self,
        store: LabelStore,
        labels: LabelMap,
        address: str,
        full_disk: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        store.write(SHARDS[0], labels[0:4])
        for room in (0, 1, 2, 3):
            with full_disk(room), pytest.raises(StoreError, match="cannot write"):
                store.write(SHARDS[1], labels[4:8])
            assert open_store(address).pending() == SHARDS[1:], room
        store.write(SHARDS[1], labels[4:8])
        assert [report.state for report in verify(open_store(address)).shards] == ["ok", "ok", "pending"]

    @pytest.fixture
    def full_disk(self) -> Callable[[int], AbstractContextManager[None]]:
        """The system itself refuses to let a file grow: beyond so many times 60 bytes."""

        @contextmanager
        def limit(room: int) -> Iterator[None]:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (60 * room, hard))
            try:
                yield
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        return limit

    def test_every_object_cut_short_or_gone_is_found_and_never_served(self, full: LabelStore, address: str) -> None:
        finalize(full, Publication(name="tests", source="the tests", licence="CC0-1.0"))
        good = _everything(full)
        for name in self.worth_damaging(full):
            whole = full.read_object(name)
            assert whole is not None
            for data in (whole[: len(whole) // 2], b""):
                full.write_object(name, data)
                assert _is_found_or_harmless(address, good) == "found", (name, len(data))
            full.delete_object(name)
            if name not in self.may_be_gone:
                assert _is_found_or_harmless(address, good) == "found", name
            full.write_object(name, whole)
        assert verify(open_store(address), deep=True).state == "ok"

    def test_every_kind_of_byte_flipped_is_found_or_harmless(self, full: LabelStore, address: str) -> None:
        finalize(full, Publication(name="tests", source="the tests", licence="CC0-1.0"))
        good = _everything(full)
        for name in self.worth_flipping(full):
            whole = full.read_object(name)
            assert whole is not None
            step = max(1, len(whole) // self.flips_each)
            for place in range(0, len(whole), step):
                flipped = bytearray(whole)
                flipped[place] ^= 1 << place % 8
                full.write_object(name, bytes(flipped))
                assert _is_found_or_harmless(address, good), (name, place)
            full.write_object(name, whole)
        assert verify(open_store(address), deep=True).state == "ok"

    def test_repair_makes_damaged_shards_pending_and_mends_the_rest(
        self, full: LabelStore, labels: LabelMap, address: str, damage: Callable[[str, int], None]
    ) -> None:
        before = {name: full.read_object(name) for name in full.object_names() if "record" not in name}
        damage("scores/1", 40)
        writable = open_store(address, writable=True)
        assert repair(writable, verify(writable)) == []
        assert open_store(address).pending() == [SHARDS[1]]
        writable.write(SHARDS[1], labels[4:8])
        assert verify(open_store(address), deep=True).state == "ok"
        assert len(before) == len([name for name in writable.object_names() if "record" not in name])

    def test_a_copy_into_itself_is_refused(self, full: LabelStore, address: str) -> None:
        for inside in (address, f"{address}/labels.zarr"):
            with pytest.raises(StoreError, match="inside of it"):
                copy(full, inside)

    def test_a_copy_is_equal_in_every_bit(self, full: LabelStore, tmp_path: Path) -> None:
        for name in ("copy.zarr", "copy.h5"):
            assert copy(full, str(tmp_path / name)).complete
            copied = open_store(tmp_path / name)
            assert copied.schema == full.schema
            assert copied.keys == full.keys
            for mine, theirs in zip(_everything(full), _everything(copied), strict=True):
                assert (mine == theirs).all()
            places = [(shard, place) for shard, rows in enumerate(SHARDS) for place in range(len(rows))]
            for mine, theirs in zip(full.fetch(places), copied.fetch(places), strict=True):
                assert mine.tobytes() == theirs.tobytes()
            assert [record.run for _, record in copied.records() if record] == [{}] * 3

    def worth_damaging(self, store: LabelStore) -> list[str]:
        """All objects, where reading is quick."""
        return list(store.object_names())

    def worth_flipping(self, store: LabelStore) -> list[str]:
        """One object of each kind."""
        return one_of_each_kind(store)

    flips_each = 12  # of an object of each kind
    may_be_gone: tuple[str, ...] = (MANIFEST,)  # whoever removes the manifest says no more than that there is none


def one_of_each_kind(store: LabelStore) -> list[str]:
    """Names of objects, of those that differ in their numbers only the first."""
    return list({re.sub(r"\d+", "N", name): name for name in reversed(list(store.object_names()))}.values())


def _everything(store: LabelStore) -> list[np.ndarray]:
    labels = store.read(range(len(store)))
    rows = np.array([store.find(key) for key in KEYS])
    return [labels.classes, labels.scores, labels.boxes, labels.sizes, labels.status, store.targets, rows]


def _is_found_or_harmless(address: str, good: list[np.ndarray]) -> str:
    """Say "found" where verify tells of the damage, "harmless" where all is read as before, or fail."""
    try:
        found = verify(open_store(address), deep=True).state == "damaged"
    except (DamageError, FormatError, NotAStoreError):
        return "found"
    try:
        read = _everything(open_store(address))
    except StoreError:
        assert found
        return "found"
    served = all((mine == theirs).all() for mine, theirs in zip(good, read, strict=True))
    assert served, "what is damaged was served as a label"
    return "found" if found else "harmless"


def _die_writing(store: LabelStore, rows: range, labels: LabelMap, where: str, nth: int) -> None:
    """Write a shard, and be killed in the n-th call of a function on the way."""
    module, _, path = where.partition(":")
    owner: Any = import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, name), count(1)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, deadly)
    store.write(rows, labels)


def _read_last(store: LabelStore, answers: Queue[object]) -> None:
    try:
        answers.put(store.read([9]).classes.tolist())
    except StoreError as error:
        answers.put(str(error))


def _write(store: LabelStore, rows: range, labels: LabelMap) -> None:
    store.write(rows, labels)
