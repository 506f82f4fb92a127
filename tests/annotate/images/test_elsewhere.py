"""Are ImageNet's validation pictures without folders of classes recognised, with the list that gives their classes?"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from annotate.errors import AnnotateError
from annotate.images import open_images
from annotate.images.elsewhere import about_classes
from annotate.jobs.calibrate import calibrate
from annotate.jobs.run import run
from annotate.jobs.workers import LocalWorkers
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from tests.annotate.images.collections import write_tar

NAMES = [f"ILSVRC2012_val_0000000{n}.JPEG" for n in (1, 2, 3)]
SYNSETS = ["n01751748", "n09193705", "n02105855"]
# As Kaggle has it: sorted by nothing, the class first, then a box, and more boxes of the same class.
ANSWERS = "ImageId,PredictionString\n" + "".join(
    f"{name.removesuffix('.JPEG')},{synset} 111 108 441 193 {synset} 1 2 3 4 \n"
    for name, synset in reversed([*zip(NAMES, SYNSETS, strict=True)])
)


@pytest.fixture
def val(tmp_path: Path) -> Path:
    """In a folder whose name a shell would take apart."""
    folder = tmp_path / "my data" / "val"
    folder.mkdir(parents=True)
    for n, name in enumerate(NAMES):
        Image.new("RGB", (70, 50), (80 * n, 99, 9)).save(folder / name)
    (folder.parent / "LOC_val_solution.csv").write_text(ANSWERS)
    return folder


def test_a_run_labels_them_and_says_how_their_classes_are_given(val: Path, recipe: Recipe) -> None:
    said: list[str] = []
    summary = run(open_images(val), str(val.parent / "labels.zarr"), recipe, LocalWorkers(), say=said.append)
    assert summary.labelled == 3
    (sentence,) = (each for each in said if "ImageNet's validation pictures" in each)
    assert "Labels need no classes" in sentence
    assert f"give {val / 'val.csv'}" in sentence


def test_the_command_that_is_named_writes_the_list_that_works(val: Path, recipe: Recipe) -> None:
    with pytest.raises(AnnotateError, match="cannot calibrate: .* ImageNet's validation pictures") as caught:
        calibrate(open_images(val), Annotator(recipe, k=1), None)
    command = str(caught.value).rpartition("LOC_val_solution.csv: ")[2]
    subprocess.run(["sh", "-c", command], cwd=val.parent, check=True)
    source = open_images(val / "val.csv")
    classes = dict(zip(source.keys, (source.target_names[n] for n in source.targets), strict=True))
    assert classes == dict(zip(NAMES, SYNSETS, strict=True))
    assert source.reader.read(source.handles[0]) == (val / source.keys[0]).read_bytes()
    assert about_classes(source) == ""
    assert about_classes(open_images(val)).endswith(f"give {val / 'val.csv'} instead")


def test_the_page_has_the_same_command(val: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/sources.md").read_text()
    (program,) = re.findall(r"awk -F, '(.+?)' LOC_val_solution\.csv", page)
    assert f"'{program}'" in about_classes(open_images(val))


def test_those_of_a_tar_are_to_be_extracted_first(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "ILSVRC2012_img_val.tar", dict.fromkeys(NAMES, b"1"))
    assert f"extract them into {tmp_path / 'val'}, give {tmp_path / 'val' / 'val.csv'} instead" in about_classes(
        open_images(path)
    )


def test_other_pictures_and_pictures_with_classes_are_left_alone(val: Path, tmp_path: Path) -> None:
    (tmp_path / "classes" / "n01751748").mkdir(parents=True)
    shutil.copy(val / NAMES[0], tmp_path / "classes" / "n01751748")
    assert about_classes(open_images(tmp_path / "classes")) == ""
    shutil.copy(val / NAMES[0], val / "holiday.jpg")
    assert about_classes(open_images(val)) == ""
