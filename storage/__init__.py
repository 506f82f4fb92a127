"""What is a label map, and how does it rest on disk? The contract between writers and readers.

Needs numpy and zarr, and knows neither networks nor training.
"""

from storage.backends import create_store, find_store, open_store
from storage.copying import Copied, copy
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
from storage.integrity import ShardReport, Verification, repair, verify
from storage.labelmap import LabelMap
from storage.progress import Progress
from storage.publication import Publication, finalize
from storage.record import Failure, Record
from storage.schema import Schema
from storage.status import Status
from storage.store import LabelStore

__all__ = [
    "Box",
    "Copied",
    "DamageError",
    "Failure",
    "FormatError",
    "KeyNotFoundError",
    "LabelMap",
    "LabelStore",
    "MismatchError",
    "NotAStoreError",
    "NotLabelledError",
    "Progress",
    "Publication",
    "Record",
    "Schema",
    "ShardReport",
    "Status",
    "StoreError",
    "Verification",
    "copy",
    "create_store",
    "finalize",
    "find_store",
    "open_store",
    "repair",
    "verify",
]
