"""Is a finished store made ready for others, and no other?"""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_a_store_is_finalized_checked_by_others_and_described(command, store: Path) -> None:
    about = ("--source", "scans of digits", "--licence", "CC-BY-4.0")
    result = command("finalize", store, *about)
    assert result.exit_code == 0, result.output
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "MANIFEST.sha256"], cwd=store, check=True)
    assert command("verify", store, "--deep").exit_code == 0
    text = (store / "README.md").read_text()
    for words in ("scans of digits", "CC-BY-4.0", "test_resnet", "license: ", "30, of which 30 are labelled"):
        assert words in text, words
    assert command("card", store, *about).stdout == text
    (store / "README.md").write_text(text + "tampered")
    result = command("verify", store)
    assert result.exit_code == 4
    assert "README.md is not what MANIFEST.sha256 says" in result.stdout


def test_a_pending_store_is_not_finalized(command, store: Path) -> None:
    (store / "shards/record/c/2").unlink()
    result = command("finalize", store, "--source", "x", "--licence", "y")
    assert result.exit_code == 1
    assert "1 of 4 shards are pending" in result.stderr
    assert not (store / "MANIFEST.sha256").exists()
