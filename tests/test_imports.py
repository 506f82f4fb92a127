"""Is nothing imported that is not needed? Tested in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
        ("import storage.zarr_backend.backend", {"click", "h5py", "ray", "timm", "torch", "torchvision"}),
        ("import tokenlabel", {"annotate", "click", "h5py", "ray", "timm", "torch", "torchvision"}),
        (
            "import tokenlabel.dataset, tokenlabel.losses, tokenlabel.mixing",
            {"annotate", "click", "h5py", "ray", "timm"},
        ),
        ("import annotate.inspect, annotate.images", {"ray", "timm", "tokenlabel", "torch"}),
        ("import annotate", HEAVY - {"annotate"}),
        ("import annotate.jobs.run", {"ray", "tokenlabel"}),
    ],
)
def test_importing_brings_only_what_is_needed(statement: str, absent: set[str]) -> None:
    assert imported(statement) & absent == set()


def test_this_test_can_fail() -> None:
    assert "torch" in imported("import tokenlabel.dataset")


ONLY_WHAT_TRAINING_NEEDS = """
import sys
from importlib.metadata import packages_distributions, requires
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

allowed, waiting = set(), ["numpy", "torch", "torchvision", "zarr", "pillow", "google-crc32c", "zstandard"]
while waiting:
    name = canonicalize_name(waiting.pop())
    if name not in allowed:
        allowed.add(name)
        needs = [Requirement(text) for text in requires(name) or []]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
others = {
    module
    for module, names in packages_distributions().items()
    if not allowed & {canonicalize_name(name) for name in names} and "tokenlabel" not in names
}

for module in [*sys.modules]:
    if module.partition(".")[0] in others:
        del sys.modules[module]
sys.modules.update(dict.fromkeys(others))  # what has None there cannot be imported, nor found
assert {"timm", "ray", "numba", "click", "scipy"} <= others
import tokenlabel.pipelines.crops, tokenlabel.dataset, tokenlabel.losses.token_label_loss, tokenlabel.mixing.mixer
import tokenlabel.targets.paper
import tokenlabel.pipelines.policies
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2
from storage import Status, open_store
from tokenlabel import Traced, View, token_targets

store = open_store("tests/golden/format-1.zarr")
rows = [row for row, status in enumerate(store.column("status")) if status == Status.LABELLED]
for transform in (v1.Compose([v1.RandomCrop(8), v1.ToTensor()]), v2.Compose([v2.RandomCrop(8), v2.ToImage()])):
    assert Traced(transform)(Image.new("RGB", (9, 9)))[0].shape == (3, 8, 8)
print(float(token_targets(store.read(rows), [View.whole()] * len(rows), (4, 4)).probabilities.sum()))
"""


def test_training_needs_numpy_torch_torchvision_and_zarr_alone() -> None:
    """All else that is installed here is hidden from it, as if only these and what they need were."""
    found = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_TRAINING_NEEDS], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) > 1
