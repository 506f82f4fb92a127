"""Which arrays does a Zarr store consist of? Its metadata, laid down once by the driver (docs/format.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.errors import GroupNotFoundError
from zarr.storage import LocalStore

from storage import scores
from storage.errors import DamageError, FormatError, NotAStoreError
from storage.keys import check_keys
from storage.labelmap import no_class
from storage.schema import FORMAT, Schema
from storage.status import Status

ATTRIBUTE = "tokenlabel"  # of the root group: the schema, or {"creating": true} until all metadata lies there
LABEL_ARRAYS = ("classes", "scores")  # written with each shard, one inner chunk an image
ROW_ARRAYS = ("boxes", "sizes", "status")  # written with each shard, one inner chunk a shard
RECORDS = "shards/record"
# Zarr leaves out chunks that hold only fill, unless told so each time; but a commit record says that all lie there.
WRITE_FILL: Any = {"write_empty_chunks": True}
_KEYS_PER_CHUNK = 65_536
_ENCODING = {
    "name": "sqrt127-flagged",
    "steps": scores.STEPS,
    "flag": scores.FLAG,
    "formula": "v = ((code mod 128) / 127)^2; ranks above 0: p = v; rank 0: p = v where code >= 128, "
    "else 1 - v - the sum of the ranks above 0, and v is the remainder",
}


def lay_down(path: Path, schema: Schema, keys: Sequence[str], targets: Sequence[int] | None) -> None:
    """Create every array; the root's attributes come last, so that half a store is never taken for one."""
    check_keys(keys)
    count, shard, (h, w), k = len(keys), schema.rows_per_shard, schema.grid, schema.k
    group = zarr.create_group(LocalStore(path), attributes={ATTRIBUTE: {"creating": True}}, overwrite=True)
    layout: tuple[tuple[str, Any, tuple[int, ...], int, Any, tuple[str, ...]], ...] = (
        ("classes", schema.class_dtype, (h, w, k), 1, no_class(schema.class_dtype), ("y", "x", "rank")),
        ("scores", np.dtype(np.uint8), (h, w, k), 1, 0, ("y", "x", "rank")),
        ("boxes", np.dtype(np.float32), (4,), shard, np.nan, ("edge",)),
        ("sizes", np.dtype(np.uint32), (2,), shard, 0, ("side",)),
        ("status", np.dtype(np.uint8), (), shard, int(Status.PENDING), ()),
    )
    codecs = [ZstdCodec(level=3), Crc32cCodec()]
    for name, dtype, row, chunk, fill, dimensions in layout:
        group.create_array(
            name,
            shape=(count, *row),
            shards=(shard, *row),
            chunks=(chunk, *row),
            dtype=dtype,
            fill_value=fill,
            compressors=codecs,
            dimension_names=("image", *dimensions),
            config=WRITE_FILL,
            attributes={"encoding": _ENCODING} if name == "scores" else {},
        )
    whole: dict[str, Any] = {
        "chunks": (_KEYS_PER_CHUNK,),
        "compressors": codecs,
        "dimension_names": ("image",),
        "config": WRITE_FILL,
    }
    array = group.create_array("keys", shape=(count,), dtype=str, attributes={"sha256": hash_keys(keys)}, **whole)
    array[:] = np.array(keys, np.dtypes.StringDType())
    own = np.full(count, -1, np.int32) if targets is None else np.asarray(targets, np.int32)
    digest = hash_targets(own)
    array = group.create_array(
        "targets", shape=(count,), dtype=np.int32, fill_value=-1, attributes={"sha256": digest}, **whole
    )
    array[:] = own
    group.create_array(
        RECORDS,
        shape=(len(schema.shards(count)),),
        chunks=(1,),
        dtype=str,
        compressors=[Crc32cCodec()],
        dimension_names=("shard",),
        config=WRITE_FILL,
    )
    group.update_attributes({ATTRIBUTE: schema.to_json(), f"{ATTRIBUTE}_sha256": hash_json(schema.to_json())})


def read_attributes(path: Path) -> dict[str, Any] | None:
    """What the root group says of this project; None where there is no group.

    Raises:
        NotAStoreError: something is there that is not a store of label maps.
    """
    try:
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r")
    except (GroupNotFoundError, FileNotFoundError):
        if path.exists() and not path.is_dir():
            raise NotAStoreError(f"{path} is a file, not a store of label maps; give another address") from None
        return None
    except Exception as error:  # whatever zarr makes of a root that is no group
        raise NotAStoreError(f"{path} is not a store of label maps: {error}") from error
    attributes = group.attrs.get(ATTRIBUTE)
    if not isinstance(attributes, dict):
        raise NotAStoreError(f"{path} is a Zarr group, but not a store of label maps; give another address")
    if not attributes.get("creating") and "format" not in attributes:
        raise FormatError(f"{path} does not say which format it has")
    if attributes.get("format") == FORMAT and hash_json(attributes) != group.attrs.get(f"{ATTRIBUTE}_sha256"):
        raise DamageError(f"the schema of {path} is not the one that was written: its SHA-256 does not hold")
    return attributes


def hash_json(values: Mapping[str, Any]) -> str:
    """SHA-256 over the JSON text of the values: sorted keys, no spaces, ASCII."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_targets(targets: NDArray[np.int32]) -> str:
    """SHA-256 over the targets as little-endian int32."""
    return hashlib.sha256(targets.astype("<i4").tobytes()).hexdigest()


def hash_keys(keys: Sequence[str]) -> str:
    """SHA-256 over the keys, each ended by a zero byte, which no key contains."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode() + b"\0")
    return digest.hexdigest()
