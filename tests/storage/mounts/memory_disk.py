"""Where does a test have a disk of its own, which it may fill or take away? In memory, mounted on a folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def memory_disk(at: Path, size: str | None = None) -> Iterator[None]:
    """A disk of this size, such as "400k", on an empty folder. Where nothing can be mounted, the test is skipped."""
    options = ["-o", f"size={size}"] if size else []
    mounted = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", at], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        if os.path.ismount(at):  # the test may have taken it away
            subprocess.run(["umount", "--lazy", at], check=True)
