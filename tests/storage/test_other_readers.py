"""Do other readers of Zarr v3 find in our stores what we find?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import LabelMap, LabelStore, Schema, Status, create_store, open_store
from storage.encoding.coded_labels import CodedLabels, layouts
from storage.labelmap import no_class

KEYS = [f"写真/é {n}.jpg" for n in range(10)]
SHARDS = [range(4), range(4, 8), range(8, 10)]
ARRAYS = ("classes", "scores", "boxes", "sizes", "status", "targets")
SCHEMAS = {
    "probability": Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=4),
    "float16": Schema(grid=(6, 5), k=3, class_count=40, rows_per_shard=4, scores="logit", score_type="float16"),
    "float32 of many classes": Schema(
        grid=(6, 5), k=3, class_count=70_000, rows_per_shard=4, scores="logit", score_type="float32"
    ),
}


def labels_of(schema: Schema, count: int, seed: int) -> LabelMap:
    """Any labels of a schema: boxes beyond the picture, classes up to the last, every fourth row without a label."""
    rng = np.random.default_rng(seed)
    shape = (count, *schema.grid, schema.k)
    classes = rng.integers(0, schema.class_count, shape).astype(schema.class_dtype)
    classes.flat[0] = schema.class_count - 1
    if schema.scores == "probability":
        parts = rng.dirichlet(np.full(schema.k + 1, 0.3), shape[:-1])[..., 1:]
        scores = -np.sort(-parts, axis=-1).astype(np.float32)
    else:
        scores = rng.normal(0, 9, shape).astype(schema.score_dtype)
    boxes = np.array([-0.5, 0, 1.5, 1], np.float32) + rng.uniform(0, 0.25, (count, 4)).astype(np.float32)
    sizes, status = rng.integers(1, 5000, (count, 2)).astype(np.uint32), np.zeros(count, np.uint8)
    unlabelled = rng.random(count) < 0.25
    classes[unlabelled], scores[unlabelled], boxes[unlabelled] = no_class(classes.dtype), 0, np.nan
    sizes[unlabelled], status[unlabelled] = 0, Status.UNDECODABLE
    return LabelMap(classes, scores, boxes, sizes, status, schema.scores)


def fill(store: LabelStore, labels: LabelMap) -> None:
    for rows in store.shards():
        store.write(rows, labels[rows.start : rows.stop], reasons=dict.fromkeys(rows, "no picture"))


def as_stored(store: LabelStore, rows: list[int]) -> CodedLabels:
    """What our own reader finds, before it is decoded."""
    return store.backend.fetch([divmod(row, store.schema.rows_per_shard) for row in rows])


@pytest.fixture(scope="module", params=SCHEMAS.values(), ids=SCHEMAS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """A whole store of each kind. Do not change it."""
    address = tmp_path_factory.mktemp("readers") / "labels.zarr"
    store = create_store(address, request.param, KEYS, range(10))
    fill(store, labels_of(request.param, 10, seed=4))
    return open_store(address)


def through_zarr(address: str, name: str) -> np.ndarray:
    return zarr.open_group(address, mode="r")[name][:]


def through_zarrs(address: str, name: str) -> np.ndarray:
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        return through_zarr(address, name)


def through_xarray(address: str, name: str) -> np.ndarray:
    with xarray.open_zarr(address, consolidated=False) as dataset:
        return dataset[name].load().values


def through_tensorstore(address: str, name: str) -> np.ndarray:
    file = {"driver": "file", "path": f"{address}/{name}/"}
    return tensorstore.open({"driver": "zarr3", "kvstore": file}, open=True, read=True).result().read().result()


READERS = [through_zarr, through_zarrs, through_xarray, through_tensorstore]


@pytest.mark.parametrize("read", READERS)
def test_every_reader_finds_what_we_find(store: LabelStore, read: Callable[[str, str], np.ndarray]) -> None:
    ours = {**as_stored(store, list(range(10)))._asdict(), "targets": store.targets}
    for name in ARRAYS:
        theirs = read(store.address, name)
        assert (theirs.dtype, theirs.shape) == (ours[name].dtype, ours[name].shape), name
        assert theirs.tobytes() == ours[name].tobytes(), name


@pytest.mark.parametrize("read", [through_zarr, through_zarrs, through_xarray])
def test_readers_that_support_strings_read_the_keys(store: LabelStore, read: Callable[[str, str], np.ndarray]) -> None:
    assert read(store.address, "keys").tolist() == KEYS


@pytest.mark.parametrize("read", [through_zarr, through_zarrs])
def test_readers_that_support_strings_read_the_records(
    store: LabelStore, read: Callable[[str, str], np.ndarray]
) -> None:
    rows = [(json.loads(text)["start"], json.loads(text)["stop"]) for text in read(store.address, "shards/record")]
    assert rows == [(0, 4), (4, 8), (8, 10)]


def test_the_zarrs_pipeline_is_what_reads_when_it_is_asked_for_and_never_after(store: LabelStore) -> None:
    def pipeline() -> str:
        return type(zarr.open_array(f"{store.address}/classes", mode="r")._async_array.codec_pipeline).__module__

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        assert pipeline().startswith("zarrs")
    assert pipeline().startswith("zarr.core")


def test_xarray_knows_the_axes_by_name(store: LabelStore) -> None:
    with xarray.open_zarr(store.address, consolidated=False) as dataset:
        assert dict(dataset.sizes) == {"image": 10, "y": 6, "x": 5, "rank": 3, "edge": 4, "side": 2}
        assert set(dataset.data_vars) == {*ARRAYS, "keys"}
        assert dataset.attrs["tokenlabel"] == store.header.to_json()
        assert (dataset.classes.isel(image=9, y=2).values == as_stored(store, [9]).classes[0, 2]).all()


def test_of_consolidated_metadata_the_root_is_all_that_a_reader_needs(store: LabelStore, tmp_path: Path) -> None:
    copy = tmp_path / "labels.zarr"
    shutil.copytree(store.address, copy, ignore=lambda folder, _: [] if folder == store.address else ["zarr.json"])
    open_store(copy, writable=True).backend.consolidate()
    with xarray.open_zarr(copy) as dataset:
        assert (dataset.classes.values == as_stored(store, list(range(10))).classes).all()


schemas = st.builds(
    lambda kind, grid, k, many, step: Schema(
        grid=grid,
        k=k,
        class_count=70_000 if many else k + 3,
        rows_per_shard=step,
        scores="probability" if kind == "uint8" else "logit",
        score_type=kind,
    ),
    st.sampled_from(["uint8", "float16", "float32"]),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(1, 5),
    st.booleans(),
    st.integers(1, 5),
)


@settings(max_examples=40, deadline=None)
@given(schema=schemas, count=st.integers(1, 12), data=st.data())
def test_any_rows_of_any_store_are_read_equal_by_us_and_by_zarr_python(
    tmp_path_factory: pytest.TempPathFactory, schema: Schema, count: int, data: st.DataObject
) -> None:
    address = tmp_path_factory.mktemp("any") / "labels.zarr"
    store = create_store(address, schema, [f"{n}.jpg" for n in range(count)])
    labels = labels_of(schema, count, data.draw(st.integers(0, 2**32 - 1), "seed"))
    fill(store, labels)
    rows = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=12), "rows")
    group = zarr.open_group(address, mode="r")
    for reader in (store, open_store(address)):  # one that wrote, and one that did not
        found = as_stored(reader, rows)
        for layout, ours in zip(layouts(schema), found, strict=True):
            theirs = group[layout.name].oindex[rows]
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), layout.name
            assert ours.tobytes() == theirs.tobytes(), layout.name
    if schema.scores == "logit":
        assert store.read(rows).scores.tobytes() == labels.scores[rows].tobytes()
