"""Does a bucket that lacks something, or an environment that does not say how to reach it, give one clear message?"""

from __future__ import annotations

import http.client
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
import pytest
from obstore.store import S3Store

from storage import NotAStoreError, StoreError, create_store, find_store, open_store, verify
from storage.zarr_backend.bucket import _refuse_environment
from tests import s3
from tests.labels import random_labels
from tests.storage.contract.samples import KEYS, SCHEMA, SHARDS
from tests.storage.mounts.kept import are_kept


@pytest.fixture
def address(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment(server).items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.BUCKET}/runs/{uuid.uuid4().hex}/labels.zarr"


@pytest.fixture(params=["refused", "ignored"])
def unconditional(
    address: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> Iterator[str]:
    """An address of the same server, through a proxy that refuses conditional writes, or ignores the condition."""
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _proxy_before(server, request.param))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    yield address
    proxy.shutdown()
    proxy.server_close()


def _proxy_before(server: str, condition: Literal["refused", "ignored"]) -> type[BaseHTTPRequestHandler]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            names = {name.lower() for name in headers}
            if "if-none-match" in names and condition == "refused":
                status, found, data = 501, {}, b"<Error><Code>NotImplemented</Code></Error>"
            else:
                headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
                upstream = http.client.HTTPConnection(urlsplit(server).netloc, timeout=30)
                upstream.request(self.command, self.path, body, headers)
                response = upstream.getresponse()
                status, found, data = response.status, dict(response.getheaders()), response.read()
                upstream.close()
            length = found.get("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_response_only(status)
            for name, value in found.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 the server looks for these names

        def log_message(self, *words: object) -> None:
            pass

    return Proxy


def test_a_bucket_without_conditional_writes_is_refused_before_anything_else_is_written(unconditional: str) -> None:
    words = r"conditional writes.*could replace the metadata of another.*set AWS_CONDITIONAL_PUT=disabled, and begin"
    with pytest.raises(StoreError, match=words):
        create_store(unconditional, SCHEMA, KEYS)
    bucket = S3Store(s3.BUCKET, prefix=unconditional.removeprefix(f"s3://{s3.BUCKET}/"))
    assert {found["path"] for page in bucket.list() for found in page} <= {"zarr.json"}


@pytest.mark.parametrize("word", ["disabled", "Disabled"])
def test_a_bucket_without_conditional_writes_is_used_when_the_user_says_so(
    unconditional: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", word)
    labels = random_labels(np.random.default_rng(0), 10)
    store = create_store(unconditional, SCHEMA, KEYS)
    for rows in SHARDS:
        store.write(rows, labels[rows.start : rows.stop])
    assert are_kept(open_store(unconditional).read(range(10)), labels)
    assert create_store(unconditional, SCHEMA, KEYS).pending() == []


def test_a_prefix_with_other_objects_is_refused_as_a_folder_is(address: str) -> None:
    bucket = S3Store(s3.BUCKET, prefix=address.removeprefix(f"s3://{s3.BUCKET}/"))
    bucket.put("thesis/1.txt", b"precious")
    for use in (find_store, lambda where: create_store(where, SCHEMA, KEYS)):
        with pytest.raises(NotAStoreError, match="is not empty and not a store"):
            use(address)
    assert [found["path"] for page in bucket.list() for found in page] == ["thesis/1.txt"]
    neighbour = address.removesuffix(".zarr")  # which begins with the same characters
    assert find_store(neighbour) is None


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_ENDPOINT_URL": "http://localhost:9000", "AWS_ALLOW_HTTP": ""}, "http://.*set AWS_ALLOW_HTTP=true"),
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "AWS_ENDPOINT_URL is not the address.*https://host:port"),
        ({"AWS_ENDPOINT_URL": "http//localhost"}, "AWS_ENDPOINT_URL is not the address.*https://host:port"),
        ({"AWS_ENDPOINT": "https://:9000"}, "AWS_ENDPOINT is not the address.*https://host:port"),
        ({"AWS_ENDPOINT_URL_S3": "https://host:port"}, "AWS_ENDPOINT_URL_S3 is not the address"),
        ({"AWS_ENDPOINT_URL": "https://<host>:9000"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": "https://host_with%zz"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": "https://höst"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": "https://host?a=b"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": "https://host#b"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": "https://*"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": f"https://{'a' * 64}.org"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": f"https://{'abcde.' * 50}org"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": "https://a..b"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_ENDPOINT_URL": "https://10.0.0.256:9000"}, "AWS_ENDPOINT_URL is not the address"),
        ({"AWS_REGION": "us east"}, "AWS_REGION has a space, a new line"),
        ({"AWS_DEFAULT_REGION": "eu-west-1\n"}, "AWS_DEFAULT_REGION has a space, a new line"),
        ({"AWS_SESSION_TOKEN": "a\nb"}, "AWS_SESSION_TOKEN has a space, a new line"),
        ({"AWS_TOKEN": "a\nb"}, "AWS_TOKEN has a space, a new line"),
        ({"AWS_ACCESS_KEY_ID": "a\x7f"}, "AWS_ACCESS_KEY_ID has a space, a new line or another control character"),
        ({"AWS_PROFILE": "lab", "AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID and .* export-credentials"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY is not set, or empty; set both, or"),
        ({"AWS_ACCESS_KEY_ID": ""}, "AWS_ACCESS_KEY_ID is not set, or empty; set both, or"),
        (
            {"AWS_ENDPOINT_URL": "https://xn--a"},
            "broke off.* look at AWS_ENDPOINT_URL_S3, .*AWS_REGION, .*AWS_SESSION_TOKEN",
        ),
        ({"AWS_CONDITIONAL_PUT": "bogus"}, "AWS_CONDITIONAL_PUT is 'bogus'; set it to etag or disabled, or unset it"),
        ({"AWS_PROFILE": "a; rm x", "AWS_ACCESS_KEY_ID": ""}, "export-credentials --profile 'a; rm x' --format env"),
        ({"AWS_PROFILE": "lab", "AWS_ACCESS_KEY_ID": ""}, "set AWS_ACCESS_KEY_ID and .* export-credentials --profile"),
        ({"AWS_ALLOW_HTTP": "perhaps", "AWS_ENDPOINT_URL": ""}, "AWS_… of the environment is not valid"),
    ],
)
def test_an_environment_that_cannot_be_used_is_a_message_that_says_what_to_set(
    address: str, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for use in (open_store, find_store):
        with pytest.raises(StoreError, match=f"(?i){words}") as caught:
            use(address)
        assert "\n" not in str(caught.value)


def test_a_machine_without_a_role_or_keys_is_told_which_to_set(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_store(address)


def test_a_condition_that_is_empty_is_as_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "")
    assert find_store(address) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "s3.eu-west-1.amazonaws.com", "my_minio", "minio.", "a.b2"])
def test_hosts_of_all_kinds_are_allowed(host: str) -> None:
    _refuse_environment("s3://b/a", {"AWS_ENDPOINT_URL": f"https://{host}:9000/", "AWS_REGION": "us-east-1"})


def test_a_profile_beside_keys_is_no_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert find_store(address) is None


def test_objects_are_not_missing_because_their_bucket_is_gone(server: str, address: str) -> None:
    """It was renamed, or the name now leads to another server: nothing is known of the labels."""
    name = f"leaving-{uuid.uuid4().hex}"
    urllib.request.urlopen(urllib.request.Request(f"{server}/{name}", method="PUT"), timeout=60).close()
    labels = random_labels(np.random.default_rng(0), 10)
    store = create_store(f"s3://{name}/labels.zarr", SCHEMA, KEYS)
    for rows in SHARDS:
        store.write(rows, labels[rows.start : rows.stop])
    bucket = S3Store(name)
    bucket.delete([found["path"] for page in bucket.list() for found in page])
    urllib.request.urlopen(urllib.request.Request(f"{server}/{name}", method="DELETE"), timeout=60).close()
    found = verify(store)
    assert {report.state for report in found.shards} == {"unreadable"}
    assert found.state == "unreadable"
