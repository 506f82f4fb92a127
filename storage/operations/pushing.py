"""How is a finalized store published on the Hub? In commits of some objects each, and its manifest in the last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import StoreError
from storage.operations.integrity import verify
from storage.operations.manifest import read_manifest
from storage.operations.progress import OnProgress, Progress, silent
from storage.remote.address import HubAddress, hub
from storage.remote.mirror import MANIFEST
from storage.store import LabelStore

_AT_ONCE = 200  # objects in a commit
_BYTES_AT_ONCE = 2**29


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What was pushed.

    address:    where the store is published
    objects:    how many objects it has, the manifest among them
    pushed_now: how many of them this call uploaded
    """

    address: str
    objects: int
    pushed_now: int

    @property
    def complete(self) -> bool:
        """A call that ends without an error has published all."""
        return True

    def describe(self) -> str:
        """What was done, for a person."""
        return (
            f"uploaded {self.pushed_now:,} of {self.objects:,} objects; `annotate pull` and open_store read the store "
            f"from {self.address}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"address": self.address, "objects": self.objects, "pushed_now": self.pushed_now}


def push(store: LabelStore, address: str, *, private: bool = False, on_progress: OnProgress = silent) -> Pushed:
    """Publish a finalized store in a dataset on the Hub; continue where an earlier call ended.

    The whole store is verified first. Readers need the manifest, which the last commit brings, so that none sees a
    part of a store. An older manifest is removed by the first commit. Objects that are there already are not uploaded
    again. Other files of the dataset stay.

    Args:
        store: a finalized store in a local folder.
        address: hf://datasets/OWNER/NAME, or hf://datasets/OWNER/NAME@BRANCH/FOLDER. The dataset is made if needed.
        private: make a new dataset private.
        on_progress: called at the beginning and after each commit, with numbers of objects.

    Raises:
        StoreError: the store is not finished, not finalized, damaged or not in a local folder; the address is not one
            of the Hub; huggingface_hub is not installed; or the Hub refuses.

    Examples:
        >>> import tempfile
        >>> from storage import Schema, create_store
        >>> schema = Schema(grid=(7, 7), k=5, class_count=1000, rows_per_shard=1024)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     push(create_store(f"{folder}/labels.zarr", schema, ["cat/1.jpg"]), "hf://datasets/ann/labels")
        Traceback (most recent call last):
        ...
        storage.errors.StoreError: cannot push ...: 1 of 1 shards are pending; `annotate run` labels them
    """
    where = HubAddress.of(address)
    manifest, listed = _sound(store)
    try:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise StoreError(
            f"cannot push to {address}: this needs huggingface_hub: pip install 'tokenlabel[hub]'"
        ) from error
    api, folder = HfApi(endpoint=hub()), Path(store.address)
    about = {"repo_id": where.repository, "repo_type": "dataset"}

    def place(name: str) -> str:
        return f"{where.folder}/{name}" if where.folder else name

    try:
        api.create_repo(**about, private=private or None, exist_ok=True)
        there = _there(api, about, where)
        missing = [
            name for name, digest in listed.items() if not _is_there(there.get(place(name)), folder / name, digest)
        ]
        done = len(listed) - len(missing)
        on_progress(Progress(done, len(listed) + 1, 0))
        same = _is_there(there.get(place(MANIFEST)), folder / MANIFEST, hashlib.sha256(manifest).hexdigest())
        if not missing and same:
            on_progress(Progress(done + 1, len(listed) + 1, 0))
            return Pushed(address=address, objects=len(listed) + 1, pushed_now=0)
        first = [CommitOperationDelete(place(MANIFEST))] if place(MANIFEST) in there and missing else []
        for number, names in enumerate(_batches(missing, folder)):
            operations = [CommitOperationAdd(place(name), folder / name) for name in names]
            message = f"Labels, objects {done + 1:,} to {done + len(names):,} of {len(listed):,}"
            api.create_commit(
                operations=[*(first if number == 0 else []), *operations],
                commit_message=message,
                revision=where.revision,
                **about,
            )
            done += len(names)
            on_progress(Progress(done, len(listed) + 1, 0))
        api.create_commit(
            operations=[CommitOperationAdd(place(MANIFEST), manifest)],
            commit_message="The manifest: the labels are complete",
            revision=where.revision,
            **about,
        )
    except Exception as error:
        # What the library's own client raises has another module from version to version.
        if not isinstance(error, HfHubHTTPError | OSError | ValueError) and "httpx" not in type(error).__module__:
            raise
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise StoreError(
            f"cannot push {store.address} to {address}: {why or repr(error)}. Nothing is lost: the same command "
            "continues here; HF_TOKEN or `hf auth login` says who you are"
        ) from error
    on_progress(Progress(done + 1, len(listed) + 1, 0))
    return Pushed(address=address, objects=len(listed) + 1, pushed_now=len(missing) + 1)


def _sound(store: LabelStore) -> tuple[bytes, dict[str, str]]:
    """The manifest of a store, and the SHA-256 of each object that it names.

    Raises:
        StoreError: the store is not finished, not finalized, damaged, or not in a local folder.
    """
    if not Path(store.address).is_dir():
        raise StoreError(f"cannot push {store.address}: it is not a local folder; `annotate convert` copies it to one")
    if pending := store.pending():
        raise StoreError(
            f"cannot push {store.address}: {len(pending):,} of {store.shard_count:,} shards are pending; "
            "`annotate run` labels them"
        )
    manifest = read_manifest(store)
    if manifest is None:
        raise StoreError(f"cannot push {store.address}: it is not finalized; `annotate finalize` does it")
    found = verify(store)
    if found.state != "ok":
        raise StoreError(f"cannot push {store.address}: it is {found.state}; `annotate verify` says what is wrong")
    lines = (line.partition("  ") for line in manifest.decode().splitlines())
    return manifest, {name: digest for digest, _, name in lines}


def _there(api: Any, about: Mapping[str, str], where: HubAddress) -> dict[str, Any]:
    """The files of the dataset, by their paths."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        found = api.list_repo_tree(**about, revision=where.revision, recursive=True)
        return {file.path: file for file in found if hasattr(file, "blob_id")}
    except EntryNotFoundError:  # nothing was committed yet
        return {}


def _is_there(file: Any, path: Path, digest: str) -> bool:
    """Whether a file of the dataset is this one: by its SHA-256 where the Hub has it, and else as git names it."""
    if file is None or file.size != path.stat().st_size:
        return False
    if file.lfs is not None:
        return bool(file.lfs.sha256 == digest)
    data = path.read_bytes()
    return bool(file.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def _batches(names: list[str], folder: Path) -> Iterator[list[str]]:
    """The names in lists for one commit each."""
    batch: list[str] = []
    size = 0
    for name in names:
        batch.append(name)
        size += (folder / name).stat().st_size
        if len(batch) == _AT_ONCE or size >= _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
