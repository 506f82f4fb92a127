"""Where does a test find a bucket? In a real S3 server on this machine, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

BUCKET = "labels"


# The server takes whichever port is free and says which, so that nobody can take it before; it ends with its tests.
_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def server() -> Iterator[str]:
    """Run a server with one empty bucket; its address. In this process it would deadlock with compiled clients."""
    command = [sys.executable, "-c", _PROGRAM]
    pipe = subprocess.PIPE
    with TemporaryFile() as said, subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said) as process:
        try:
            port = process.stdout.readline().decode().strip()
            if not port:
                process.wait()
                said.seek(0)
                raise RuntimeError(f"the server of the tests has not started: {said.read().decode()}")
            address = f"http://127.0.0.1:{port}"
            # It imports what it needs at its first request, which takes long where many tests run at once.
            request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
            urllib.request.urlopen(request, timeout=600).close()
            yield address
        finally:
            process.kill()


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
