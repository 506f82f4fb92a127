"""What lies in a folder, links and all?"""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes | str]:
    """Every file's bytes and every link's target, by name."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    links = {name: str(path.readlink()) for name, path in paths.items() if path.is_symlink()}
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file() and name not in links} | links


def shard_file(address: Path, shard: int) -> Path:
    """A file of a shard that holds labels: of Zarr that of the classes."""
    zarr = address / f"classes/c/{shard}/0/0/0"
    return zarr if address.suffix == ".zarr" else address / f"shards/{shard:06d}.h5"


def shared_file(address: Path) -> Path:
    """A file that all shards share and that is not the header's where there are several."""
    return address / ("keys/c/0" if address.suffix == ".zarr" else "store.h5")
