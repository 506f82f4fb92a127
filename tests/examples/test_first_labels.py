"""Does the notebook run, and are the outputs that it keeps those of its run? `FIRST_LABELS=write` keeps new ones."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "first_labels.ipynb"
NUMBER = re.compile(r"\d+\.\d+")

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")


def shown(notebook: Any) -> list[tuple[str, list[float], list[str]]]:
    """Of each code cell: its text without decimal numbers, these numbers, and the kinds of its pictures."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            text = "".join(each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.outputs)
            text = re.sub(r"<IPython[^>]*>", "", text)
            kinds = [kind for each in cell.outputs for kind in each.get("data", {}) if kind.startswith("image/")]
            found.append((NUMBER.sub("#", text), [float(n) for n in NUMBER.findall(text)], kinds))
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_runs_and_gives_the_outputs_that_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = nbformat.read(NOTEBOOK, 4)
    run = nbformat.read(NOTEBOOK, 4)
    kernel = tmp_path / "kernels" / "python3"  # this interpreter, whatever other kernels the machine has
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    settings = {"argv": command, "language": "python", "display_name": "Python 3"}
    (kernel / "kernel.json").write_text(json.dumps(settings))
    for name, value in {"JUPYTER_PATH": tmp_path, "IPYTHONDIR": tmp_path / "i", "TMPDIR": tmp_path}.items():
        monkeypatch.setenv(name, str(value))
    nbclient.NotebookClient(run, timeout=300, resources={"metadata": {"path": str(ROOT / "examples")}}).execute()
    if os.environ.get("FIRST_LABELS") == "write":
        for cell in run.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(run, NOTEBOOK)
        kept = run
    for (text, numbers, kinds), (kept_text, kept_numbers, kept_kinds) in zip(shown(run), shown(kept), strict=True):
        assert (text, kinds) == (kept_text, kept_kinds)
        assert numbers == pytest.approx(kept_numbers, rel=0.05, abs=0.02)  # other machines round otherwise


def test_the_notebook_keeps_its_outputs_and_is_small() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert sum(bool(cell.outputs) for cell in cells) >= 6
    assert not any(each.output_type == "error" for cell in cells for each in cell.outputs)
    assert NOTEBOOK.stat().st_size < 300_000
