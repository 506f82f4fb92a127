"""How are label maps stored in HDF5 files? In storage, only this package imports h5py."""

from storage.hdf5_backend.backend import Hdf5Backend
from storage.hdf5_backend.creation import create, find

open_existing = Hdf5Backend

__all__ = ["create", "find", "open_existing"]
