"""Which URL has a published store? An https:// address is one; an hf:// address names a dataset on the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from storage.errors import StoreError
from storage.keys.key import is_key

SCHEMES = ("https://", "http://", "hf://")
_HUB = "https://huggingface.co"
_EXPECTED = "hf://datasets/OWNER/NAME, or hf://datasets/OWNER/NAME@REVISION/FOLDER"


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A folder of a dataset on the Hub.

    repository: OWNER/NAME
    revision:   a branch, a tag or a commit
    folder:     the folder in it, without / at its ends; empty for all
    """

    repository: str
    revision: str
    folder: str

    @classmethod
    def of(cls, address: str) -> HubAddress:
        """The parts of an address hf://datasets/OWNER/NAME[@REVISION][/FOLDER].

        Raises:
            StoreError: it has others.

        Examples:
            >>> HubAddress.of("hf://datasets/ann/labels@v1/light.zarr")
            HubAddress(repository='ann/labels', revision='v1', folder='light.zarr')
        """
        parts = address.removeprefix("hf://").rstrip("/").split("/")
        kind, owner, name = [*parts, "", ""][:3]
        name, _, revision = name.partition("@")
        path = "/".join(parts[3:])
        if kind != "datasets" or not is_key(f"{owner}/{name}") or (path and not is_key(path)):
            raise StoreError(f"cannot use the address {address}: give {_EXPECTED}")
        return cls(f"{owner}/{name}", revision or "main", path)

    @property
    def url(self) -> str:
        """Where the Hub has its files."""
        parts = [hub(), "datasets", self.repository, "resolve", quote(self.revision, safe=""), quote(self.folder)]
        return "/".join(filter(None, parts))


def hub() -> str:
    """The address of the Hub: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB


def url_of(address: str) -> str:
    """The URL of the folder of a published store.

    Raises:
        StoreError: the address is not as it must be. No request is sent.
    """
    if address.startswith("hf://"):
        return HubAddress.of(address).url
    parts = urlsplit(address)
    if "@" in parts.netloc or parts.query or parts.fragment:  # not repeated: it may hold a secret
        raise StoreError(
            f"cannot use this {parts.scheme}:// address: give {parts.scheme}://host/folder, without password, ? and #"
        )
    if not parts.hostname:
        raise StoreError(f"cannot use the address {address}: give {parts.scheme}://host/folder")
    return address.rstrip("/")


def headers_of(address: str) -> dict[str, str]:
    """What requests to this address say besides: for the Hub, who asks. The token is the one of huggingface_hub."""
    if not address.startswith("hf://"):
        return {}
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token and file.is_file():
        token = file.read_text(encoding="utf-8").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
