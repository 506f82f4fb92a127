"""What is a label map, and how is it stored? The contract between writers and readers.

Needs numpy and zarr, and knows neither networks nor training.
"""

from storage.backend import Backend
from storage.backends import create_store, find_store, open_store
from storage.errors import (
    DamageError,
    FormatError,
    KeyNotFoundError,
    MismatchError,
    NotAStoreError,
    NotLabelledError,
    StoreError,
    UnreadableError,
)
from storage.geometry import Box
from storage.header import Header
from storage.labelmap import LabelMap, no_class
from storage.operations.copying import Copied, copy
from storage.operations.gathering.gather import Gathered
from storage.operations.gathering.merging import merge
from storage.operations.gathering.selecting import select
from storage.operations.integrity import ShardReport, ShardReports, Verification, verify
from storage.operations.lightening import Lightened, Lightness, lighten
from storage.operations.naming import name_classes
from storage.operations.progress import OnProgress, Progress
from storage.operations.publication import Publication, finalize
from storage.operations.pulling import Pulled, pull
from storage.operations.pushing import Pushed, push
from storage.operations.repair import repair, repair_steps
from storage.record import Failure, KeyedFailure, Record
from storage.schema import Schema
from storage.status import Status
from storage.store import LabelStore

__distribution__ = "tokenlabel"

__all__ = [
    "Backend",
    "Box",
    "Copied",
    "DamageError",
    "Failure",
    "FormatError",
    "Gathered",
    "Header",
    "KeyNotFoundError",
    "KeyedFailure",
    "LabelMap",
    "LabelStore",
    "Lightened",
    "Lightness",
    "MismatchError",
    "NotAStoreError",
    "NotLabelledError",
    "OnProgress",
    "Progress",
    "Publication",
    "Pulled",
    "Pushed",
    "Record",
    "Schema",
    "ShardReport",
    "ShardReports",
    "Status",
    "StoreError",
    "UnreadableError",
    "Verification",
    "copy",
    "create_store",
    "finalize",
    "find_store",
    "lighten",
    "merge",
    "name_classes",
    "no_class",
    "open_store",
    "pull",
    "push",
    "repair",
    "repair_steps",
    "select",
    "verify",
]
