"""How are label maps stored in a Zarr v3 group, in a folder or in a bucket?"""

from storage.zarr_backend.backend import ZarrBackend
from storage.zarr_backend.creation import create, find

open_existing = ZarrBackend

__all__ = ["create", "find", "open_existing"]
