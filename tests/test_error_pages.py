"""Do errors name a page that explains them, and are the page and its heading there?"""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner

from annotate.cluster.connection import connected
from annotate.errors import AnnotateError
from annotate.images import open_images
from annotate.model.dense import DenseClassifier
from cli import main
from storage import DamageError, NotLabelledError, Publication, Schema, StoreError, create_store, finalize
from storage.errors import explained
from tests.test_shape import PACKAGES, ROOT, files
from tokenlabel import TokenTargets, token_label_loss
from tokenlabel.errors import LabelError


def pages() -> dict[str, str]:
    """Every page that the code names, and where."""
    found = {}
    for path in files(ROOT, PACKAGES):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "explained":
                    page = node.args[1]
                    assert isinstance(page, ast.Constant), f"{path}: the page must be written out"
                    found[str(page.value)] = str(path)
    return found


def headings(page: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


def test_every_page_that_an_error_names_is_there_with_its_heading() -> None:
    named = pages()
    assert len(named) >= 7
    for page, where in named.items():
        name, _, heading = page.partition("#")
        assert (ROOT / "docs" / name).is_file(), f"{where} names {page}"
        assert not heading or heading in headings(ROOT / "docs" / name), f"{where} names {page}"


def test_the_command_shows_the_page_last(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", str(tmp_path), str(tmp_path / "labels.zarr"), "--model", "test_resnet"])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "docs/sources.md explains it"


def finalized_too_early(folder: Path) -> None:
    schema = Schema(grid=(2, 2), k=1, class_count=3, rows_per_shard=4)
    finalize(create_store(folder / "labels.zarr", schema, ["a.jpg"]), Publication(name="a", source="b", licence="c"))


def no_pictures(folder: Path) -> None:
    open_images(folder)


def max_pooled(_: Path) -> None:
    DenseClassifier(timm.create_model("test_vit", global_pool="max"), "test_vit")


def no_ray_there(_: Path) -> None:
    with connected("127.0.0.1:9"):
        pass


def targets() -> TokenTargets:
    """One picture with one token, of class 4."""
    whole = torch.tensor([[[4], [4]]])
    return TokenTargets(whole, torch.ones(whole.shape), torch.zeros(1, 2, dtype=torch.bool))


def class_of_targets_that_the_model_lacks(_: Path) -> None:
    targets().dense(3)


def class_of_a_picture_that_the_targets_lack(_: Path) -> None:
    targets().probability_of(torch.tensor([9]), class_count=5)


def class_of_a_picture_that_the_model_lacks(_: Path) -> None:
    token_label_loss(torch.zeros(1, 5), torch.zeros(1, 1, 5), targets(), label=torch.tensor([-1]))


@pytest.mark.parametrize(
    ("mistake", "page"),
    [
        (finalized_too_early, "publish.md"),
        (no_pictures, "sources.md"),
        (max_pooled, "annotators.md#every-family-of-timm"),
        (no_ray_there, "cluster.md#a-ray-cluster"),
        (class_of_targets_that_the_model_lacks, "trainers.md#common-mistakes"),
        (class_of_a_picture_that_the_targets_lack, "trainers.md#common-mistakes"),
        (class_of_a_picture_that_the_model_lacks, "trainers.md#common-mistakes"),
    ],
)
def test_what_a_newcomer_may_do_wrong_is_explained_on_a_page(
    mistake: Callable[[Path], None], page: str, tmp_path: Path
) -> None:
    with pytest.raises((StoreError, AnnotateError, LabelError)) as caught:
        mistake(tmp_path)
    assert getattr(caught.value, "__notes__", []) == [f"docs/{page} explains it"]


@pytest.mark.parametrize("kind", [DamageError, NotLabelledError])
def test_an_error_that_crosses_processes_keeps_its_page_once(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind("what was found")))
    assert (str(error), len(error.__notes__)) == ("what was found", 1)


def test_a_page_is_a_note_and_leaves_the_message_alone() -> None:
    error = explained(ValueError("no"), "label.md")
    assert (str(error), error.__notes__) == ("no", ["docs/label.md explains it"])
