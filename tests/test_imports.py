"""Is nothing imported without need, or where it may not be? Fresh interpreters, and setup.cfg's contracts."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"annotate", "h5py", "numpy", "ray", "storage", "timm", "tokenlabel", "torch", "torchvision", "zarr"}


NEED_TORCH = ("import tokenlabel.dataset, tokenlabel.losses, tokenlabel.mixing", "import annotate.jobs.run")


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
    found = imported(statement)
    assert found & absent == set()
    assert ("torch" in found) == (statement in NEED_TORCH)  # so that the line above can fail


def test_cli_imports_click_and_what_names_its_errors_wherever_the_import_stands() -> None:
    """cli.py is in no package, so that no contract sees it."""
    named: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "cli.py").read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add(node.module or "")
    assert {name.partition(".")[0] for name in named} - sys.stdlib_module_names == {"annotate", "click", "storage"}


ONLY_WHAT_TRAINING_NEEDS = """
import importlib.metadata
import sys
from importlib.metadata import packages_distributions, requires
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

names = ("numpy", "torch", "torchvision", "zarr", "pillow", "google-crc32c", "zstandard")
allowed, waiting = set(), [(name, "") for name in names]  # each with one of its extras
seen = set()
while waiting:
    name, extra = one = waiting.pop()
    if one in seen:
        continue
    seen.add(one)
    allowed.add(canonicalize_name(name))
    for need in map(Requirement, requires(name) or []):
        if need.marker is None or need.marker.evaluate({"extra": extra}):
            waiting += [(need.name, each) for each in ("", *need.extras)]
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
hidden = set(importlib.metadata.entry_points(group="zarr.codec_pipeline"))  # of packages that are hidden
select = importlib.metadata.EntryPoints.select
importlib.metadata.EntryPoints.select = lambda all, **by: type(all)(e for e in select(all, **by) if e not in hidden)
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
    """All other installed packages are hidden, as if only these and what they need were installed."""
    found = subprocess.run(
        [sys.executable, "-c", ONLY_WHAT_TRAINING_NEEDS], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) > 1


OFFENDERS = {
    "demo/notes.py": (
        "import benchmarks.rounds",
        "demo.notes -> benchmarks.rounds",
        "annotate and tokenlabel side by side",
    ),
    "annotate/notes.py": ("", "annotate.notes", "the rooms of annotate lie above each other"),
    "annotate/model/notes.py": (
        "import annotate.jobs.run",
        "annotate.model.notes -> annotate.jobs",
        "the rooms of annotate",
    ),
    "annotate/jobs/notes.py": (
        "def f():\n    import ray",
        "annotate.jobs.notes -> ray",
        "only annotate.cluster imports ray",
    ),
    "annotate/inspect/notes/__init__.py": ("import cli", "annotate.inspect.notes -> cli", "no package imports cli.py"),
    "annotate/images/sources/notes.py": (
        "import timm.data",
        "annotate.images.sources.notes -> timm",
        "timm is imported",
    ),
    "networks/notes.py": (
        "import tokenlabel",
        "networks.notes -> tokenlabel",
        "annotate and tokenlabel side by side",
    ),
    "storage/notes.py": ("", "storage.notes", "the rooms of storage lie above each other"),
    "storage/files/notes.py": ("import torch", "storage.files.notes -> torch", "storage knows no networks"),
    "storage/keys/notes.py": ("import h5py", "storage.keys.notes -> h5py", "h5py is imported by"),
    "storage/encoding/notes.py": (
        "import storage.store",
        "storage.encoding.notes -> storage.store",
        "the rooms of storage",
    ),
    "tokenlabel/notes/__init__.py": ("", "tokenlabel.notes", "the rooms of tokenlabel lie above each other"),
    "tokenlabel/train/notes.py": (
        "import annotate",
        "tokenlabel.train.notes -> annotate",
        "annotate and tokenlabel side by side",
    ),
    "tokenlabel/mixing/notes.py": (
        "import click",
        "tokenlabel.mixing.notes -> click",
        "only annotate.commands imports click",
    ),
    "tokenlabel/geometry/notes.py": ("import timm", "tokenlabel.geometry.notes -> timm", "timm is imported"),
    "tokenlabel/targets/notes.py": (
        "from tokenlabel.losses.class_label import SoftLabel",
        "tokenlabel.targets.notes -> tokenlabel.losses",
        "the rooms of tokenlabel",
    ),
}  # new files: what each imports, how the report names it, and the contract that it breaks


def checked(root: Path) -> subprocess.CompletedProcess[str]:
    """The import linter's verdict on a checkout."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "300", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, the demo and the benchmarks, with the contracts."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("annotate", "benchmarks", "demo", "networks", "storage", "tokenlabel"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "out*"))
    for name in ("cli.py", "setup.cfg"):
        shutil.copy(ROOT / name, root)
    return root


@pytest.fixture(scope="module")
def offended(copied: Path) -> str:
    """The report on a copy with all offenders in it."""
    assert (clean := checked(copied)).returncode == 0, clean.stdout + clean.stderr
    for name, (text, _, _) in OFFENDERS.items():
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_text(text)
    found = checked(copied)
    assert found.returncode == 1, found.stdout + found.stderr
    return found.stdout


@pytest.mark.parametrize("name", OFFENDERS)
def test_a_new_file_that_imports_what_its_room_may_not_breaks_a_contract(name: str, offended: str) -> None:
    _, offence, contract = OFFENDERS[name]
    _, _, details = offended.partition("Broken contracts")
    section = re.search(rf"^[^\n]*{re.escape(contract)}[^\n]*\n-+$(.*?)(?=^[^\n]+\n-----|\Z)", details, re.M | re.S)
    assert section is not None, details
    assert offence in section[1]
