"""Does the metadata of a store match its header, and what should replace metadata that does not?"""

from __future__ import annotations

import json
from typing import Any

from storage.errors import DamageError
from storage.header import Header
from storage.json_fields import MOST_BYTES, parsed
from storage.zarr_backend.layout import CREATING, ROOT, as_text, documents, root_document, same_document, same_root
from storage.zarr_backend.objects import Objects


def wrong_documents(header: Header, objects: Objects) -> dict[str, bytes]:
    """The right bytes of each metadata document that does not match the header, by name."""
    root, found = root_document(header), _read(objects, ROOT)
    expected = documents(header)
    consolidated = found.get("consolidated_metadata") if isinstance(found, dict) else None
    if consolidated is not None:
        root["consolidated_metadata"] = _consolidated(expected)
    wrong = {}
    if not same_root(found, root):
        wrong[ROOT] = as_text(_with_attributes_of(found, root))
    for name, data in expected.items():
        if not same_document(_read(objects, name), json.loads(data)):
            wrong[name] = data
    return wrong


def consolidated_root(header: Header, objects: Objects) -> bytes:
    """The root document with consolidated metadata, in zarr-python's format."""
    root = {**root_document(header), "consolidated_metadata": _consolidated(documents(header))}
    return as_text(_with_attributes_of(_read(objects, ROOT), root))


def largest_root(header: Header) -> bytes:
    """The root document of a new store with all that is in it at any time."""
    root = root_document(header, creating=True)
    return as_text({**root, "consolidated_metadata": _consolidated(documents(header))})


def with_header(header: Header, objects: Objects) -> bytes:
    """The root document that is there, with this header."""
    found, root = _read(objects, ROOT), root_document(header)
    kept = {name: value for name, value in found.items() if name not in root} if isinstance(found, dict) else {}
    return as_text({**_with_attributes_of(found, root), **kept})


def _consolidated(expected: dict[str, bytes]) -> dict[str, Any]:
    metadata = {name.removesuffix(f"/{ROOT}"): json.loads(data) for name, data in sorted(expected.items())}
    return {"kind": "inline", "must_understand": False, "metadata": metadata}


def _with_attributes_of(found: Any, root: dict[str, Any]) -> dict[str, Any]:
    """The root, with the attributes that other programs added."""
    others = found.get("attributes") if isinstance(found, dict) else None
    kept = {name: value for name, value in (others if isinstance(others, dict) else {}).items() if name != CREATING}
    return {**root, "attributes": {**kept, **root["attributes"]}}


def _read(objects: Objects, name: str) -> Any:
    """The document of this name; None where there is none, or none that can be right."""
    try:
        data = objects.get(name, most=MOST_BYTES)
        return None if data is None else parsed(data)
    except (DamageError, RecursionError, ValueError):
        return None
