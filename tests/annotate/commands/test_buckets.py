"""Do the commands work on a store in a bucket?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.datasets import ImageFolder

from storage import open_store
from tests import s3
from tests.annotate.commands.conftest import MODEL
from tokenlabel import Crops, LabeledImages, folder_keys


def test_a_bucket_is_an_address_like_any_other(
    command, scene_folder: Path, checkpoint: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real Ray workers write to a real server of the S3 protocol; status, verify, inspect and training read."""
    images, address = scene_folder / "images/val", f"s3://{s3.BUCKET}/labels.zarr"
    with s3.server() as server:
        for name, value in s3.environment(server).items():
            monkeypatch.setenv(name, value)
        words = ["run", images, address, *MODEL, "--checkpoint", checkpoint, "--rows-per-shard", "8", "--workers", "2"]
        result = subprocess.run([sys.executable, "-m", "cli", *map(str, words)], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert json.loads(command("status", address, "--json").stdout)["labelled"] == 30
        assert command("status", address, "--html", tmp_path / "status.html").exit_code == 0
        assert "30" in (tmp_path / "status.html").read_text()
        assert command("verify", address, "--deep").exit_code == 0
        assert "30" in command("inspect", address).stdout
        sheet = command("inspect", address, "--images", images, "-o", tmp_path / "sheet.png", "--count", 2)
        assert sheet.exit_code == 0, sheet.output
        pictures = ImageFolder(images)
        arguments = {"keys": folder_keys(pictures), "augment": Crops((64, 64)), "tokens": (8, 8), "class_count": 10}
        mine = LabeledImages(pictures, address, **arguments)[3].targets
        theirs = LabeledImages(pictures, finished, **arguments)[3].targets
        assert torch.equal(mine.probabilities, theirs.probabilities)
        assert "a-secret-of-the-tests" not in result.stdout + result.stderr + str(open_store(address).record(0))
