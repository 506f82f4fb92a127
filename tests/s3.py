"""Where does a test find a bucket? In a real S3 server on this machine, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

BUCKET = "labels"


@contextmanager
def server() -> Iterator[str]:
    """Run a server with one empty bucket; its address. In this process it would deadlock with compiled clients."""
    with ExitStack() as ending:
        for _ in range(5):
            address, process = _start()
            ending.callback(process.wait)
            ending.callback(process.terminate)
            if _answers(address, process):
                break
        request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
        yield address


def _start() -> tuple[str, subprocess.Popen[bytes]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return f"http://127.0.0.1:{port}", process


def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server has begun; not if another process has taken its port since it was found to be free."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/moto-api/", timeout=10).close()
            return True
        time.sleep(0.1)
    return False


def environment(address: str) -> dict[str, str]:
    """Environment variables by which every client of S3 finds that server, and no other."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key-of-the-tests",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
