"""How is a recipe carried out, where the user leaves it open?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from annotate.errors import AnnotateError
from annotate.jobs.execution import Execution, resolve_precision
from annotate.model.recipe import Recipe
from storage import open_store
from tests.annotate.jobs.conftest import label


def test_a_precision_that_is_left_open_is_that_of_the_store_or_of_this_machine(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    here = "bfloat16" if torch.cuda.is_available() else "float32"
    assert resolve_precision("auto") == resolve_precision("auto", str(tmp_path / "nothing.zarr")) == here
    assert resolve_precision("auto", str(finished)) == recipe.precision
    label(val, tmp_path / "half.zarr", replace(recipe, precision="bfloat16"), part=range(1))
    assert resolve_precision("auto", str(tmp_path / "half.zarr")) == "bfloat16"


def test_a_precision_that_is_asked_for_is_taken_whatever_the_store_has(finished: Path) -> None:
    assert resolve_precision("bfloat16", str(finished)) == "bfloat16"


def test_how_a_store_is_made_is_read_from_its_provenance(
    val: Path, recipe: Recipe, checkpoint: Path, finished: Path, tmp_path: Path
) -> None:
    assert Execution.of(open_store(finished)) == Execution(batch_size=32, compiled=False)
    label(val, tmp_path / "labels.zarr", recipe, part=range(1), batch_size=3)
    assert Execution.of(open_store(tmp_path / "labels.zarr")) == Execution(batch_size=3)
    assert (Execution().compile_for, Execution(batch_size=3, compiled=True).compile_for) == (None, 3)
    with pytest.raises(AnnotateError, match="the batch size must be at least 1, not 0"):
        Execution(batch_size=0)
