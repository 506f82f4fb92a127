"""Does a person see how far targets of crops are from answers on the crops, as text, as JSON and as a picture?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.annotate.fidelity.annotators import write_pictures


def test_a_command_compares_and_draws(
    command, store: Path, scene_folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["fidelity", scene_folder / "images/val", store, "--checkpoint", checkpoint, "--count", 4]
    result = command(*words, "-o", tmp_path / "curve.png")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "targets of random crops of 4 pictures, read from the store, against:"
    assert lines[1].strip().startswith("the crop's own label  ")
    assert lines[1].endswith("  the network's answer for the crop")
    assert [line.split()[0] for line in lines[3:9]] == ["8%", "15%", "25%", "50%", "75%", "100%"]
    assert lines[-1] == f"wrote {tmp_path / 'curve.png'}"
    with Image.open(tmp_path / "curve.png") as drawn:
        assert drawn.size == (1200, 500)
    found = json.loads(command(*words, "--areas", "0.5,0.1", "--crops", 3, "--json").stdout)
    assert found["pictures"] == 4
    assert [(each["area"], each["crops"]) for each in found["sizes"]] == [(0.1, 12), (0.5, 12)]
    for each in found["sizes"]:
        for against in ("label", "answer"):
            low, high = each[against]["kl_interval"]
            assert 0 <= low <= each[against]["kl"] <= high


def test_a_function_annotator_has_a_map_alone(command, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 6)
    model = "tests.annotate.fidelity.annotators:local"
    labelled = command("run", images, tmp_path / "s.zarr", "--model", model, "-k", 4, "--local", "--allow-global")
    assert labelled.exit_code == 0, labelled.output
    result = command("fidelity", images, tmp_path / "s.zarr", "-o", tmp_path / "curve.png")
    assert result.exit_code == 0, result.output
    assert "the network's answer" not in result.stdout
    assert result.stdout.count("KL, nats") == 1
    assert "100%  0.00 (0.00 to 0.00)" in result.stdout


@pytest.mark.parametrize("areas", ["", "0,1", "25", "all"])
def test_areas_that_are_no_fractions_are_wrong_usage(command, store: Path, areas: str) -> None:
    result = command("fidelity", "images", store, "--areas", areas)
    assert result.exit_code == 2
    assert "give fractions of a picture's area in (0, 1], such as 0.08,0.15" in result.output


def test_pictures_of_another_collection_are_refused(command, store: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "others" / "a.png")
    result = command("fidelity", tmp_path / "others", store, "--checkpoint", checkpoint)
    assert result.exit_code == 1
    assert "the collection that was labelled" in result.stderr
