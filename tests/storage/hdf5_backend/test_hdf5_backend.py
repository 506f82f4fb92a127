"""Does the HDF5 backend keep the contract?"""

from __future__ import annotations

from tests.storage.contract import StoreContract
from tests.storage.hdf5_backend.fixtures import Hdf5Fixtures


class TestHdf5Backend(Hdf5Fixtures, StoreContract):
    """What every backend keeps."""
