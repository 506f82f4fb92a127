"""Where does a test find a published store? On a real web server on this machine, which can be told to fail."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

CUT, WRONG, MISSING = "cut", "wrong", "missing"  # faults besides a status code


class Web:
    """A server of the files below a folder.

    address: its URL
    asked:   how often each name was asked for
    faults:  what to do instead, once each, at the next requests for a name: a status code, CUT, WRONG or MISSING
    seen:    the headers of the last request
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: Counter[str] = Counter()
        self.faults: defaultdict[str, list[int | str]] = defaultdict(list)
        self.seen: dict[str, str] = {}
        self.address = ""


def handler(web: Web) -> type[BaseHTTPRequestHandler]:
    """What answers the requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].lstrip("/")
            web.asked[name] += 1
            web.seen = dict(self.headers.items())
            fault = web.faults[name].pop(0) if web.faults[name] else None
            path = web.root / name
            if isinstance(fault, int):
                self.answer(fault, b"")
            elif fault == MISSING or not path.is_file():
                self.answer(404, b"")
            else:
                data = path.read_bytes()
                if fault == WRONG:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                self.send_range(data, cut=fault == CUT)

        def send_range(self, data: bytes, *, cut: bool) -> None:
            wanted = self.headers.get("Range")
            if wanted is None:
                return self.answer(200, data, cut=cut)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else len(data)
            about = {"Content-Range": f"bytes {start}-{min(stop, len(data)) - 1}/{len(data)}"}
            return self.answer(206, data[start:stop], about, cut=cut)

        def answer(self, code: int, data: bytes, headers: Mapping[str, str] = {}, *, cut: bool = False) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(data)), "ETag": '"1"', **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
            if cut:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(
    root: Path,
    kind: Callable[[Path], Web] = Web,
    answers: Callable[[Web], type[BaseHTTPRequestHandler]] = handler,
) -> Iterator[Web]:
    """Serve a folder."""
    web = kind(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers(web))
    server.daemon_threads = True
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
