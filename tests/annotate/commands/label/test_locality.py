"""Does a person see how local an annotator's labels are, alone and in a job, and does a global one stop a job?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from storage import create_store, open_store
from tests.annotate.locality.networks import write_pictures

ONE_CELL, EVERYTHING = (["--model", name, "--input-size", "64"] for name in ("one_cell", "everything"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("colours") / "images", 40)


def test_a_command_measures_it_and_shows_mosaics(command, images: Path, tmp_path: Path) -> None:
    result = command("locality", images, *ONE_CELL, "--count", 3, "-o", tmp_path / "mosaics.png")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("locality  1.000   1.000 to 1.000: the share of a location's probability")
    assert lines[-1] == f"wrote {tmp_path / 'mosaics.png'}"
    with Image.open(tmp_path / "mosaics.png") as sheet:
        assert sheet.width > 800
        assert sheet.height > 500
    answer = json.loads(command("locality", images, *EVERYTHING, "--json").stdout)
    assert answer["value"] == pytest.approx(0.25, abs=1e-4)
    assert answer["interval"][0] <= 0.25 <= answer["interval"][1]
    assert answer["mosaics"] == 10


def test_it_says_why_it_was_not_measured(command, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "images", 3)
    result = command("locality", folder, *ONE_CELL, "-o", tmp_path / "m.png")
    assert result.exit_code == 0, result.output
    assert "not measured: it takes 4 pictures" in result.stdout
    assert f"nothing to show: {tmp_path / 'm.png'} was not written" in result.stdout
    assert not (tmp_path / "m.png").exists()


def test_a_job_of_global_labels_stops_with_the_number_before_its_store_is_made(
    command, images: Path, tmp_path: Path
) -> None:
    store = tmp_path / "labels.zarr"
    result = command("run", images, store, *EVERYTHING, "--local")
    assert result.exit_code == 1
    assert "the labels of everything depend mostly on the whole picture" in result.stderr
    assert "0.25 (" in result.stderr
    assert "--allow-global" in result.stderr
    assert not store.exists()
    allowed = command("run", images, store, *EVERYTHING, "--local", "--allow-global")
    assert allowed.exit_code == 0, allowed.output
    assert "locality 0.25 (" in allowed.stdout
    assert command("run", images, store, *EVERYTHING, "--local").exit_code == 0  # the store is there: nothing to ask


def test_a_settings_file_may_allow_it(command, images: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("allow-global = true\n")
    words = ["run", images, tmp_path / "s.zarr", *EVERYTHING, "--local", "--config", tmp_path / "s.toml"]
    assert command(*words).exit_code == 0


def test_the_number_is_in_the_plan_the_summary_the_store_and_what_is_inspected(
    command, images: Path, tmp_path: Path
) -> None:
    store = tmp_path / "labels.zarr"
    answer = json.loads(command("run", images, store, *ONE_CELL, "--local", "--json").stdout)
    assert answer["locality"]["value"] == pytest.approx(1, abs=1e-3)
    assert open_store(store).schema.provenance["locality"] == answer["locality"]
    assert "locality    1.00 (1.00 to 1.00)" in command("inspect", store).stdout
    assert json.loads(command("inspect", store, "--json").stdout)["locality"] == answer["locality"]
    assert json.loads(command("plan", images, *ONE_CELL, "--json").stdout)["locality"] == answer["locality"]
    words = command("plan", images, *EVERYTHING).stdout
    assert "locality 0.25 (" in words
    assert "`annotate run` needs --allow-global for such labels" in words


def test_a_job_of_three_pictures_is_not_measured_and_not_stopped(command, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "images", 3)
    result = command("run", folder, tmp_path / "labels.zarr", *EVERYTHING, "--local")
    assert result.exit_code == 0, result.output
    assert "locality not measured: it takes 4 pictures" in result.stdout


def test_a_store_of_an_earlier_version_says_that_it_was_not_recorded(command, store: Path, tmp_path: Path) -> None:
    known = open_store(store)
    assert "locality" in known.schema.provenance
    create_store(tmp_path / "earlier.zarr", replace(known.schema, provenance={}), known.keys)
    assert "locality    not recorded" in command("inspect", tmp_path / "earlier.zarr").stdout
