"""Does what is not needed stay out? Asked of fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"annotate", "h5py", "numpy", "ray", "storage", "timm", "tokenlabel", "torch", "torchvision", "zarr"}


def imported(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after the statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import cli", HEAVY),
        ("import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass", HEAVY),
        ("import storage", {"annotate", "click", "h5py", "ray", "timm", "tokenlabel", "torch", "torchvision"}),
        ("import storage.zarr_store", {"click", "h5py", "ray", "timm", "torch", "torchvision"}),
        ("import tokenlabel", {"annotate", "click", "h5py", "ray", "timm"}),
        ("import annotate.inspect, annotate.images", {"ray", "timm", "tokenlabel", "torch"}),
        ("import annotate.run", {"ray", "tokenlabel"}),
    ],
)
def test_importing_brings_only_what_is_needed(statement: str, absent: set[str]) -> None:
    assert imported(statement) & absent == set()


def test_this_test_can_fail() -> None:
    assert "torch" in imported("import tokenlabel")
