"""Which bucket is at an s3:// address? What the environment says of it is checked before the first request."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from zarr.abc.store import Store

from storage.errors import StoreError
from storage.keys.key import is_key

# What obstore reads. Where several are set, it is undefined which counts, so all must be well-formed.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_KEY = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_OTHER_CREDENTIALS = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_ASKS_THE_MACHINE = "/latest/api/token"  # of the service where a machine in a cloud asks for its role
_BAD_NAME = "object with invalid path"  # what obstore says of a listing
_CONDITIONAL = "AWS_CONDITIONAL_PUT"
_CONDITIONS = ("etag", "disabled")
# Parts of requests: obstore panics, or asks another host, where they have white space or control characters.
_WORDS = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_TOKEN")
# _ is in no name on the internet, but in those of containers. What ends with a number is an IP address.
_HOST = re.compile(r"([A-Za-z0-9_-]{1,63}\.)*(?!\d+\.?$)[A-Za-z0-9_-]{1,63}\.?")
_LONGEST_HOST = 253  # characters
_YES = ("1", "true", "on", "yes", "y")  # as obstore reads them


def open_bucket(address: str, *, writable: bool) -> tuple[Store, Any, tuple[type[Exception], ...]]:
    """The bucket as zarr-python knows it, the same as obstore knows it, and what both raise.

    Raises:
        StoreError: the address or a variable of the environment is not as it must be. No request is sent.
    """
    parts = urlsplit(address)
    if parts.scheme != "s3":
        raise StoreError(f"cannot use an address with {parts.scheme}://; give a local folder or s3://bucket/name")
    if "@" in parts.netloc or parts.query or parts.fragment:  # not repeated: it may hold a secret
        raise StoreError(
            "cannot use this s3:// address: give s3://bucket/name and nothing else. Credentials come from the "
            "environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine"
        )
    if not parts.netloc or not is_key(parts.path.strip("/")):
        raise StoreError(
            f"cannot use the address {address}: give s3://bucket/name, with a name that has no part . or .."
        )
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError as error:
        raise StoreError(
            f"cannot use the address {address}: stores in buckets need obstore: pip install 'tokenlabel[s3]'"
        ) from error
    from zarr.storage import ObjectStore

    _refuse_environment(address, os.environ)
    settings = {"conditional_put": _condition(os.environ)} if _CONDITIONAL in os.environ else {}
    try:
        bucket = S3Store(parts.netloc, prefix=parts.path.strip("/"), **settings)
    except BaseError as error:
        why = str(error).partition("\n")[0]
        raise StoreError(f"cannot use {address}: a variable AWS_… of the environment is not valid: {why}") from error
    except BaseException as error:
        refuse_panic(error, address)
        raise
    return ObjectStore(bucket, read_only=not writable), bucket, (BaseError, NotImplementedError)


def refuse_panic(error: BaseException, address: str) -> None:
    """Turn a panic of obstore into an error. Its class is no Exception, and cannot be imported.

    Raises:
        StoreError: it is one.
    """
    if (type(error).__module__, type(error).__name__) == ("pyo3_runtime", "PanicException"):
        raise StoreError(
            f"cannot use {address}: obstore, the client for buckets, broke off. Something in the environment is "
            f"probably not as it must be: look at {', '.join(_ENDPOINTS)}, {', '.join(_WORDS)}, and at each other "
            "variable AWS_…, for characters that do not belong there"
        ) from error


def put_new(bucket: Any, name: str, data: bytes, address: str) -> None:
    """Write an object unless there is one: of several processes that do so at once, one writes.

    Raises:
        StoreError: the server cannot promise that.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError

    if _condition(os.environ) == "disabled":  # the user has promised to begin with one process
        try:
            bucket.head(name)
        except FileNotFoundError:
            bucket.put(name, data)
        return
    try:
        for _ in range(2):
            bucket.put(name, data, mode="create")
    except AlreadyExistsError:
        return
    except (BaseError, NotImplementedError) as error:
        if not re.search(r"\b501\b|not.?implemented", str(error), re.IGNORECASE):
            raise
        raise _unconditional(address, "its server answers 501 Not Implemented") from error
    raise _unconditional(address, "its server replaces an object that it should keep")


def listed(bucket: Any) -> list[str]:
    """The names of all objects."""
    sizes = {found["path"]: found["size"] for page in bucket.list() for found in page}
    folders = {name[:end] for name in sizes for end, sign in enumerate(name) if sign == "/"} | {""}
    return [name for name, size in sizes.items() if name not in folders and (size or _is_there(bucket, name))]


def listed_below(bucket: Any, prefix: str) -> list[str]:
    """The names of the objects and folders directly below a prefix."""
    found = bucket.list_with_delimiter(prefix)
    paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
    return [path.removeprefix(f"{prefix}/") for path in paths if path.startswith(f"{prefix}/")]


def described_below(bucket: Any, prefix: str) -> dict[str, Mapping[str, Any]]:
    """The size in bytes and last_modified, a datetime, of each object directly below a prefix, by its name there."""
    found = bucket.list_with_delimiter(prefix)["objects"]
    return {each["path"].removeprefix(f"{prefix}/"): each for each in found}


def _is_there(bucket: Any, name: str) -> bool:
    """Whether an empty object is one. Consoles mark a folder by one with a "/" at its end, which obstore leaves out."""
    try:
        bucket.head(name)
    except FileNotFoundError:
        return False
    return True


def in_short(error: BaseException) -> str:
    """The first line of an error, without passwords in addresses.

    Clients of buckets append long texts about their retries, and repeat the endpoint with any password in it.
    """
    line = re.sub(r"//[^/@\s]*@", "//…@", str(error).partition("\n")[0])
    if _ASKS_THE_MACHINE in line:
        line += (
            ". No credentials were found, and the machine has no role: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if _BAD_NAME in line:
        line += ". No object of a store has such a name: remove it, or give it another"
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda sign: repr(sign[0])[1:-1], line)


def _unconditional(address: str, found: str) -> StoreError:
    return StoreError(
        f"cannot make the store {address}: it needs a bucket with conditional writes (PUT with If-None-Match), and "
        f"{found}. Without them, several runs that begin at the same moment could each make the store, and one could "
        f"replace the metadata of another; nothing else needs them. To go on, set {_CONDITIONAL}=disabled, and "
        "begin with one run alone: others may join as soon as it says that it labels"
    )


def _condition(environment: Mapping[str, str]) -> str:
    """How to write an object only if there is none, in small letters as obstore wants it."""
    return environment.get(_CONDITIONAL, "").strip().lower() or _CONDITIONS[0]


def _refuse_environment(address: str, environment: Mapping[str, str]) -> None:
    for name in _ENDPOINTS:
        if endpoint := environment.get(name):  # never repeated: it may hold a password
            _refuse_endpoint(address, name, endpoint, environment.get("AWS_ALLOW_HTTP", ""))
    for name in _WORDS:
        # Never repeated: it may be secret.
        if any(sign.isspace() or not sign.isprintable() for sign in environment.get(name, "")):
            raise StoreError(
                f"cannot use {address}: {name} has a space, a new line or another control character in it; set it "
                "again, without, or unset it"
            )
    if (condition := _condition(environment)) not in _CONDITIONS:
        raise StoreError(
            f"cannot use {address}: {_CONDITIONAL} is {condition!r}; set it to {' or '.join(_CONDITIONS)}, or unset "
            f"it: that is as {_CONDITIONS[0]}"
        )
    missing = [name for name in _KEY if not environment.get(name)]
    if any(environment.get(name) for name in _OTHER_CREDENTIALS):
        return
    if (profile := environment.get("AWS_PROFILE")) and missing:
        raise StoreError(
            f"cannot use {address}: AWS_PROFILE is set, and profiles are not read. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where there is one; the AWS CLI prints them: "
            f'eval "$(aws configure export-credentials --profile {shlex.quote(profile)} --format env)". '
            "Where the machine has a role, unset AWS_PROFILE"
        )
    if len(missing) == 1:
        raise StoreError(
            f"cannot use {address}: of {' and '.join(_KEY)}, {missing[0]} is not set, or empty; set both, or where the "
            "machine has a role, none"
        )


def _refuse_endpoint(address: str, name: str, endpoint: str, allow_http: str) -> None:
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and parts.port != 0
        sound = sound and not (parts.query or parts.fragment)
    except ValueError:  # a port that is no number
        sound = False
    if not sound or any(sign.isspace() for sign in endpoint):
        raise StoreError(
            f"cannot use {address}: {name} is not the address of a server; set it to https://host or https://host:port"
        )
    if parts.scheme == "http" and allow_http.lower() not in _YES:
        raise StoreError(
            f"cannot use {address}: {name} begins with http://, which sends labels without encryption; if that is "
            "meant, set AWS_ALLOW_HTTP=true, and otherwise use https://"
        )


def _is_host(name: str) -> bool:
    """Whether it is the name of a host or an IP address; obstore panics at others."""
    if _HOST.fullmatch(name):
        return len(name) <= _LONGEST_HOST
    try:
        ip_address(name)
    except ValueError:
        return False
    return "%" not in name  # the interface of an IPv6 address, which is no part of a URL
