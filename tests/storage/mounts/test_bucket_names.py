"""What if other programs have put objects into a store's bucket whose names no store has?"""

from __future__ import annotations

import urllib.request
import uuid
from collections.abc import Callable
from urllib.parse import quote

import numpy as np
import pytest

from storage import Publication, StoreError, create_store, finalize, open_store, verify
from tests import s3
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS

ABOUT = Publication(name="a", source="b", licence="c")


@pytest.fixture
def address(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment(server).items():
        monkeypatch.setenv(name, value)
    address = f"s3://{s3.BUCKET}/{uuid.uuid4().hex}.zarr"
    store = create_store(address, SCHEMA, KEYS)
    for rows in SHARDS:
        store.write(rows, random_labels(np.random.default_rng(rows.start), len(rows)))
    return address


@pytest.fixture
def put(server: str, address: str) -> Callable[[str], None]:
    """Put an empty object of this name into the store's prefix, which obstore itself would refuse."""

    def send(name: str) -> None:
        url = f"{server}/{s3.BUCKET}/{address.rpartition('/')[2]}/{quote(name).replace('//', '/%2F')}"
        urllib.request.urlopen(urllib.request.Request(url, b"", method="PUT"), timeout=60).close()

    return send


@pytest.mark.parametrize("folder", ["", "shards/", "shards/record/c/", "key_index/slots/c/", "classes/c/1/", "more/"])
def test_the_folder_markers_of_consoles_are_not_objects(address: str, put: Callable[[str], None], folder: str) -> None:
    before = list(open_store(address).backend.object_names())
    put(folder)
    store = open_store(address, writable=True)
    assert list(store.backend.object_names()) == before
    assert store.committed() == {0, 1, 2}
    assert (store.pending(), verify(store).state) == ([], "ok")
    finalize(store, ABOUT)
    assert verify(open_store(address)).state == "ok"


@pytest.mark.parametrize("name", ["x//y", "shards/record/c//1", "./x", "shards/record/c/\x01"])
def test_an_object_whose_name_no_store_has_is_named_with_what_to_do(
    address: str, put: Callable[[str], None], name: str
) -> None:
    put(name)
    store = open_store(address, writable=True)
    with pytest.raises(StoreError, match="No object of a store has such a name: remove it") as caught:
        finalize(store, ABOUT)
    assert "\x01" not in str(caught.value)
    assert name.replace("\x01", r"\x01") in str(caught.value) or "shards/record/c//" in str(caught.value)


def test_the_marker_of_a_folder_that_a_console_made_is_no_other_object(
    address: str, put: Callable[[str], None]
) -> None:
    put("new.zarr/")
    assert create_store(f"{address}/new.zarr", SCHEMA, KEYS).pending() == SHARDS
