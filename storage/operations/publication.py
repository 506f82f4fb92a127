"""What should others know of a published store? A dataset card for people, a Croissant description for tools."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.errors import StoreError, explained
from storage.operations.integrity import verify
from storage.operations.manifest import is_shown, unlistable, write_manifest
from storage.store import LabelStore

CARD, CROISSANT = "README.md", "croissant.json"

# The JSON-LD context that the Croissant 1.0 specification prescribes, verbatim.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the publisher knows and the store does not.

    name:    of the label set
    source:  the pictures that were labelled: the name of their dataset, or its URL
    licence: the labels' licence, an SPDX identifier or a URL
    url:     where the label set will be published, or None
    """

    name: str
    source: str
    licence: str
    url: str | None = None


def finalize(store: LabelStore, publication: Publication) -> int:
    """Make a finished store ready to be published, and return how many objects its manifest names.

    Its metadata are consolidated, a dataset card and a Croissant description are written beside them, and then a
    manifest with the SHA-256 of every object. Doing it again is harmless.

    Raises:
        StoreError: shards are pending, damaged or unreadable; or a file has a name that no manifest can hold.

    Examples:
        >>> import tempfile
        >>> from storage import LabelMap, Schema, Status, create_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> missing = LabelMap.unlabelled(Status.MISSING, grid=schema.grid, k=schema.k, class_count=1000)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg"])
        ...     _ = store.write(range(1), LabelMap.stack([missing]), reasons={0: "the file is gone"})
        ...     finalize(store, Publication(name="Cats", source="my pictures", licence="CC0-1.0")) > 0
        True
    """
    if pending := store.pending():
        error = StoreError(
            f"cannot finalize {store.address}: {len(pending):,} of {len(store.shards()):,} shards are pending; "
            "`annotate run` labels them"
        )
        raise explained(error, "publish.md")
    found = verify(store)
    if found.state == "unreadable":
        raise StoreError(f"cannot finalize {store.address}: parts of it cannot be read; `annotate verify` names them")
    if damaged := [report for report in found.shards.read.values() if report.state == "damaged"]:
        raise StoreError(
            f"cannot finalize {store.address}: {len(damaged):,} shards are damaged; `annotate verify` lists the damage"
        )
    if names := unlistable(store):
        raise StoreError(
            f"cannot finalize {store.address}: rename or remove {', '.join(map(repr, names[:3]))}"
            f"{f' and {len(names) - 3:,} more' * (len(names) > 3)}: the manifest cannot list names that are not UTF-8 "
            "or have more than one line"
        )
    store.backend.consolidate()
    store.backend.write_object(CARD, card(store, publication).encode())
    store.backend.write_object(
        CROISSANT, json.dumps(croissant(store, publication), indent=2, ensure_ascii=False).encode()
    )
    return write_manifest(store)


def card(store: LabelStore, publication: Publication) -> str:
    """A dataset card in Markdown, with the YAML head that model hubs read. Every figure in it comes from the store."""
    schema, records = store.schema, [record for _, record in store.records() if record]
    labelled = sum(record.labelled for record in records)
    h, w = schema.grid
    kind = "Zarr" if "zarr.json" in store.backend.object_names() else "HDF5"
    head = {
        "license": publication.licence,
        "pretty_name": publication.name,
        "annotations_creators": ["machine-generated"],
        "source_datasets": [publication.source],
        "task_categories": ["image-classification"],
        "size_categories": [_size_category(len(store))],
        "tags": [kind.lower(), "token-labeling", "soft-labels"],
    }
    yaml = "\n".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items())
    recipe, software = _table(schema.recipe), _table(schema.provenance)
    count = f"{schema.k} of {schema.class_count:,} classes"
    return f"""---
{yaml}
---
# {publication.name}

Dense labels for training vision models: for each of {h} x {w} locations of every picture, the best {count} and their
{"probabilities" if schema.scores == "probability" else "logits"}. They were made by a network, not by people.

| | |
|---|---|
| pictures | {len(store):,}, of which {labelled:,} are labelled |
| pictures from | {publication.source}; they are **not** part of this dataset, and their own terms apply |
| licence of the labels | {publication.licence} |
| SHA-256 of the keys | `{store.header.keys_sha256}` |

## How the labels were made

| | |
|---|---|
{recipe or "| | not recorded |"}

## With what

| | |
|---|---|
{software or "| | not recorded |"}

## How to use them

```python
from storage import open_store  # pip install tokenlabel

store = open_store("{store.address.rstrip("/").split("/")[-1]}")
labels = store.read([store.find({store.keys[0]!r})])
```

Any {kind} reader opens the arrays. `sha256sum -c MANIFEST.sha256` or `annotate verify` checks a download.
"""


def croissant(store: LabelStore, publication: Publication) -> dict[str, Any]:
    """A static Croissant 1.0 description: the files, and where their contents are described."""
    own = [name for name in store.backend.object_names() if "/" not in name and is_shown(name)]
    described = {name: store.backend.read_object(name) for name in own}
    files = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "encodingFormat": _media_type(name),
            "sha256": hashlib.sha256(data or b"").hexdigest(),
        }
        for name, data in described.items()
        if name not in (CROISSANT, "MANIFEST.sha256")
    ]
    h, w = store.schema.grid
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": publication.name,
        "description": (
            f"Dense machine-made labels of {len(store)} pictures of {publication.source}: at each of {h} x {w} "
            f"locations the best {store.schema.k} of {store.schema.class_count} classes. The pictures are not included."
        ),
        "license": publication.licence,
        "url": publication.url or f"./{CARD}",
        "isBasedOn": publication.source,
        "version": "1.0.0",
        "datePublished": _last_change(store),
        "distribution": [
            *files,
            {
                "@type": "cr:FileSet",
                "@id": "label-maps",
                "name": "label-maps",
                "description": "The chunks of all arrays; docs/format.md of tokenlabel describes them.",
                "encodingFormat": "application/octet-stream",
                "includes": "**/c/**" if "zarr.json" in described else "shards/*.h5",
            },
        ],
    }


def _last_change(store: LabelStore) -> str:
    """The day on which the last shard was finished; the first of 1970 where no record says."""
    days = [str(record.run.get("finished", ""))[:10] for _, record in store.records() if record]
    return max(filter(None, days), default="1970-01-01")


def _media_type(name: str) -> str:
    return {"json": "application/json", "md": "text/markdown", "h5": "application/x-hdf5"}.get(
        name.rpartition(".")[2], "application/octet-stream"
    )


def _size_category(rows: int) -> str:
    limits = [(1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M")]
    return next((name for limit, name in limits if rows < limit), "10M<n<100M")


def _table(values: Mapping[str, Any]) -> str:
    """Rows of a Markdown table; no value can end its cell or its code span."""
    # The demo and the benchmarks share another one, in demo/markdown.py, which storage cannot import.
    inert = str.maketrans("`|", "'/")
    rows = ((name, json.dumps(value, ensure_ascii=False).translate(inert)) for name, value in _flat(values))
    return "\n".join(f"| {name} | `{text}` |" for name, text in rows)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found
