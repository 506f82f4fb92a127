"""Is a published store read from a server as from a disk, lazily, once, and only if its bytes are right?"""

from __future__ import annotations

import multiprocessing
import pickle
import re
from pathlib import Path

import pytest

from storage import (
    DamageError,
    LabelStore,
    NotAStoreError,
    Schema,
    StoreError,
    UnreadableError,
    copy,
    create_store,
    find_store,
    open_store,
    verify,
)
from storage.encoding.coded_labels import layouts
from storage.remote.mirror import Mirror
from storage.schema import MOST_BYTES_OF_SHARD
from storage.zarr_backend.shard_reader import most_bytes
from tests.servers.web import CUT, MISSING, WRONG, Web
from tests.storage.contract.samples import KEYS, SCHEMA

CLASSES = "labels.zarr/classes/c/1/0/0/0"


def address(web: Web) -> str:
    return f"{web.address}/labels.zarr"


def chunks(web: Web) -> set[str]:
    """The shards of which anything was asked for."""
    return {name.split("/")[3] for name in web.asked if name.startswith(("labels.zarr/classes/", "labels.zarr/boxes/"))}


def test_labels_from_a_server_are_those_of_the_store(web: Web, published: LabelStore) -> None:
    store = open_store(address(web))
    assert list(store.keys) == KEYS
    assert store.targets.tolist() == [*range(10)]
    assert store.find(KEYS[7]) == 7
    assert store.pending() == []
    mine, theirs = store.read([9, 0, 5]), published.read([9, 0, 5])
    for name in ("classes", "scores", "boxes", "sizes", "status"):
        assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()
    assert (store[3].classes == published[3].classes).all()
    assert (store.column("sizes") == published.column("sizes")).all()


def test_only_the_shards_that_are_read_are_fetched_and_each_once(web: Web) -> None:
    store = open_store(address(web))
    store.read([4, 5])
    assert chunks(web) == {"1"}
    store.read([4, 9])
    assert chunks(web) == {"1", "2"}
    again = open_store(address(web))
    again.read([4, 9])
    pickle.loads(pickle.dumps(again)).read([5])
    asked = {name: count for name, count in web.asked.items() if not name.endswith("MANIFEST.sha256")}
    assert {*asked.values()} == {1}


def test_a_store_is_verified_with_one_download_and_copied_with_no_further(web: Web, tmp_path: Path) -> None:
    store = open_store(address(web))
    assert verify(store, deep=True).state == "ok"
    assert verify(store).state == "ok"
    copied = copy(store, str(tmp_path / "copy.h5"))
    assert copied.copied_now == 10
    del web.asked["labels.zarr/MANIFEST.sha256"]
    assert {*web.asked.values()} == {1}


@pytest.mark.parametrize("fault", [503, CUT, WRONG])
def test_what_a_server_does_wrong_once_is_asked_for_again(web: Web, published: LabelStore, fault: int | str) -> None:
    web.faults[CLASSES] = [fault]
    assert (open_store(address(web)).read([4]).classes == published.read([4]).classes).all()
    assert web.asked[CLASSES] == 2


def test_bytes_that_stay_wrong_are_damage_and_are_not_kept(web: Web, published: LabelStore, tmp_path: Path) -> None:
    web.faults[CLASSES] = [WRONG] * 3
    store = open_store(address(web))
    with pytest.raises(DamageError, match="classes/c/1/0/0/0 of http.* is not what its MANIFEST.sha256 says, in 3"):
        store.read([4])
    assert not list((tmp_path / "cache").rglob("classes/c/1/0/0/0"))
    assert (store.read([4]).classes == published.read([4]).classes).all()
    web.faults["labels.zarr/scores/c/2/0/0/0"] = [WRONG] * 6  # at two looks
    found = verify(open_store(address(web)))
    assert [report.state for report in found.shards] == ["ok", "ok", "damaged"]


def test_a_server_that_refuses_or_loses_an_object_is_told_apart_from_damage(web: Web) -> None:
    store = open_store(address(web))
    web.faults[CLASSES] = [403] * 9
    with pytest.raises(UnreadableError, match="cannot read classes/c/1/0/0/0 of http"):
        store.read([4])
    web.faults[CLASSES] = [MISSING] * 9
    with pytest.raises(DamageError, match="classes/c/1/0/0/0 of http.* is missing"):
        store.read([4])


def test_objects_that_a_server_does_not_have_are_named_and_then_not_asked_for(web: Web, published: LabelStore) -> None:
    """A manifest may name hundreds of thousands, each a request."""
    manifest = Path(published.address, "MANIFEST.sha256")
    absent = "".join(f"{'0' * 64}  a/{number:05d}\n" for number in range(20_000))
    manifest.write_text(absent + manifest.read_text())
    web.faults["labels.zarr/targets/zarr.json"] = [MISSING] * 9
    *missing, last = verify(open_store(address(web))).shared[-17:]
    assert missing == [
        f"{name} is listed in MANIFEST.sha256, but missing in the store"
        for name in ("targets/zarr.json", *(f"a/{number:05d}" for number in range(15)))
    ]
    assert re.fullmatch(r"[0-9,]+ more objects that MANIFEST.sha256 lists were not asked for, as 16 are missing", last)
    assert sum(name.startswith("labels.zarr/a/") for name in web.asked) == 15


def test_an_object_that_the_disk_has_damaged_is_fetched_again(web: Web, published: LabelStore, tmp_path: Path) -> None:
    open_store(address(web)).read([4])
    (kept,) = (tmp_path / "cache").rglob("classes/c/1/0/0/0")
    kept.write_bytes(b"nonsense")
    assert (open_store(address(web)).read([4]).classes == published.read([4]).classes).all()


def test_a_store_that_was_published_again_is_not_mixed_with_what_was_kept(
    web: Web, published: LabelStore, tmp_path: Path
) -> None:
    first = open_store(address(web))
    first.read([4])
    name = "boxes/c/2/0"
    (path,) = (tmp_path / "web").rglob(name)
    path.write_bytes(b"of another store")
    with pytest.raises(DamageError, match="published again since it was opened"):
        first.read([9])
    manifest = tmp_path / "web/labels.zarr/MANIFEST.sha256"
    manifest.write_text(manifest.read_text() + f"{'0' * 64}  more\n")
    open_store(address(web)).read([4])
    assert web.asked[CLASSES] == 2


def test_an_unfinalized_store_and_writing_are_refused(web: Web, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a published store is only read; `annotate pull`"):
        open_store(address(web), writable=True)
    with pytest.raises(StoreError, match="only read"):
        create_store(address(web), SCHEMA, KEYS)
    with pytest.raises(StoreError, match="only read"):
        find_store(address(web))
    (tmp_path / "web/labels.zarr/MANIFEST.sha256").unlink()
    with pytest.raises(NotAStoreError, match="not finalized"):
        open_store(address(web))
    with pytest.raises(StoreError, match="without password"):
        open_store("https://me:secret@127.0.0.1/labels.zarr")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_reads_what_was_fetched_and_refuses_to_fetch(web: Web) -> None:
    store = open_store(address(web))
    store.read([4])

    def read(row: int) -> None:
        try:
            store.read([row])
            answers.put("read")
        except StoreError as error:
            answers.put(str(error))

    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    found = []
    for row in (5, 9):
        process = context.Process(target=read, args=(row,))
        process.start()
        found.append(answers.get())
        process.join()
    assert found[0] == "read"
    assert 'multiprocessing_context="spawn"' in found[1]


def test_what_was_removed_from_the_cache_is_fetched_again_and_the_limit_is_a_number(
    web: Web, published: LabelStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_store(address(web)).read([4])
    (kept,) = (tmp_path / "cache").rglob("classes/c/1/0/0/0")
    kept.unlink()
    assert (open_store(address(web)).read([4]).classes == published.read([4]).classes).all()
    assert web.asked[CLASSES] == 2
    monkeypatch.setenv("TOKENLABEL_CACHE_GB", "much")
    with pytest.raises(StoreError, match="TOKENLABEL_CACHE_GB is 'much'"):
        open_store(address(web))


def test_an_address_of_the_hub_is_read_from_the_hub_with_the_token(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "web/datasets/ann/labels/resolve/v1"
    place.parent.mkdir(parents=True)
    (tmp_path / "web/labels.zarr").rename(place)
    monkeypatch.setenv("HF_ENDPOINT", web.address)
    monkeypatch.setenv("HF_TOKEN", "a-token-of-the-tests")
    assert len(open_store("hf://datasets/ann/labels@v1").read(range(10))) == 10
    assert {name.lower(): value for name, value in web.seen.items()}["authorization"] == "Bearer a-token-of-the-tests"
    for wrong in ("hf://models/ann/labels", "hf://datasets/ann", "hf://datasets/ann/labels/../x"):
        with pytest.raises(StoreError, match="give hf://datasets/OWNER/NAME"):
            open_store(wrong)


def test_objects_of_shards_may_be_as_large_as_the_schema_says(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 bytes in place of what an object may have of which nothing says more."""
    store = open_store(address(web))
    store.record(1)
    monkeypatch.setattr(Mirror._get, "__defaults__", (16,))
    store.read([4, 5])
    with pytest.raises(DamageError, match="it may have 16"):
        store.record(2)


def test_a_store_is_pulled_with_the_largest_shard_that_a_schema_allows() -> None:
    schema = Schema(grid=(64, 64), k=16, class_count=1000, rows_per_shard=2**16)
    assert MOST_BYTES_OF_SHARD > max(most_bytes(layout, schema.rows_per_shard) for layout in layouts(schema)) > 2**34
