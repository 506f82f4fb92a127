"""Does a store reach the Hub and come back by commands?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.servers import hub


def test_a_store_is_pushed_and_pulled(command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENLABEL_CACHE", str(tmp_path / "cache"))
    with hub.serving(tmp_path / "hub"):
        result = command("push", store, "hf://datasets/ann/labels")
        assert (result.exit_code, "it is not finalized" in result.stderr) == (1, True), result.output
        assert command("finalize", store, "--source", "scans", "--licence", "CC0-1.0").exit_code == 0
        result = command("push", store, "hf://datasets/ann/labels", "--json")
        assert result.exit_code == 0, result.output
        pushed = json.loads(result.stdout)
        assert pushed["objects"] == pushed["pushed_now"]
        result = command("pull", "hf://datasets/ann/labels", tmp_path / "pulled.zarr")
        assert (result.exit_code, "each with its SHA-256" in result.stdout) == (0, True), result.output
        assert command("verify", "hf://datasets/ann/labels", "--deep").exit_code == 0
        assert command("inspect", "hf://datasets/ann/labels").exit_code == 0
    assert command("verify", tmp_path / "pulled.zarr", "--deep").exit_code == 0
