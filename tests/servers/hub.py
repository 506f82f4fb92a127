"""Where does a test publish a store? On a server that speaks the Hub's protocol as far as huggingface_hub needs it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.servers import web
from tests.servers.web import Web


class Hub(Web):
    """Datasets of one branch, main, each in a folder of the server, where it also answers for their files.

    commits: of each commit, its message and the paths that it added
    deleted: of each commit, the paths that it removed
    fails:   the numbers of commits that are refused once, with 500
    token:   who may write
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.commits: list[tuple[str, list[str]]] = []
        self.deleted: list[list[str]] = []
        self.fails: list[int] = []
        self.token = "a-token-of-the-tests"

    def files(self, repository: str) -> Path:
        """The folder of the files of a dataset."""
        return self.root / "datasets" / repository / "resolve/main"


def handler(hub: Web) -> type[BaseHTTPRequestHandler]:
    """What answers the requests."""
    assert isinstance(hub, Hub)

    class Handler(web.handler(hub)):  # type: ignore[misc]
        def do_GET(self) -> None:  # noqa: N802 http.server calls it so
            path = self.path.partition("?")[0]
            if not path.startswith("/api/datasets/"):
                return super().do_GET()
            repository = "/".join(path.split("/")[3:5])
            root = hub.files(repository)
            if not root.is_dir():
                return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if path.split("/")[5:6] != ["tree"]:  # which older clients ask for before they upload
                return self.answer_json({"id": repository, "xetEnabled": False})
            found = [
                {"type": "file", "path": file.relative_to(root).as_posix(), **_about(file.read_bytes())}
                for file in sorted(root.rglob("*"))
                if file.is_file()
            ]
            return self.answer_json(found)

        def do_POST(self) -> None:  # noqa: N802 http.server calls it so
            body, path = self.body(), self.path.partition("?")[0]
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.answer(401, b'{"error": "Invalid username or password."}')
            if path == "/api/repos/create":
                about = json.loads(body)
                name = f"{about['organization']}/{about['name']}"
                made = {"url": f"{hub.address}/datasets/{name}", "name": name}
                if hub.files(name).is_dir():
                    return self.answer(409, json.dumps({"error": "You already created this", **made}).encode())
                hub.files(name).mkdir(parents=True)
                return self.answer_json(made)
            if path == "/api/validate-yaml":
                return self.answer_json({"warnings": [], "errors": []})
            _, _, _, owner, name, what, *_ = path.split("/")
            if what == "preupload":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                    for file in json.loads(body)["files"]
                ]
                return self.answer_json({"files": files})
            return self.commit(f"{owner}/{name}", [json.loads(line) for line in body.splitlines()])

        def commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
            number, root = len(hub.commits), hub.files(repository)
            if number in hub.fails:
                hub.fails.remove(number)
                return self.answer(500, b'{"error": "Internal error"}')
            added, deleted = [], []
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    target = root / value["path"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(value["content"]))
                    added.append(value["path"])
                elif line["key"] == "deletedFile":
                    (root / value["path"]).unlink()
                    deleted.append(value["path"])
            hub.commits.append((lines[0]["value"]["summary"], added))
            hub.deleted.append(deleted)
            oid = f"{number:040x}"
            url = f"{hub.address}/datasets/{repository}/commit/{oid}"
            return self.answer_json({"success": True, "commitUrl": url, "commitOid": oid, "hookOutput": ""})

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def answer_json(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    return Handler


def _about(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """Serve datasets below a folder, which is made. Clients in this process take it for the Hub, with its token."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    with web.serving(root, Hub, handler) as hub:
        assert isinstance(hub, Hub)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_ENDPOINT", hub.address)
            patch.setenv("HF_TOKEN", hub.token)
            patch.setattr(constants, "ENDPOINT", hub.address)  # which older clients read when they are imported
            yield hub
