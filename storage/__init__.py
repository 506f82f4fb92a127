"""What is a label map, and how does it rest on disk? The contract between writers and readers.

Needs numpy and zarr, and knows neither networks nor training.
"""

from storage.backends import create_store, find_store, open_store
from storage.errors import (
    DamageError,
    FormatError,
    KeyNotFoundError,
    MismatchError,
    NotAStoreError,
    NotLabelledError,
    StoreError,
)
from storage.geometry import Box
from storage.integrity import ShardReport, verify
from storage.labelmap import LabelMap
from storage.record import Failure, Record
from storage.schema import Schema
from storage.status import Status
from storage.store import LabelStore

__all__ = [
    "Box",
    "DamageError",
    "Failure",
    "FormatError",
    "KeyNotFoundError",
    "LabelMap",
    "LabelStore",
    "MismatchError",
    "NotAStoreError",
    "NotLabelledError",
    "Record",
    "Schema",
    "ShardReport",
    "Status",
    "StoreError",
    "create_store",
    "find_store",
    "open_store",
    "verify",
]
