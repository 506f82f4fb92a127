"""Does each name that tokenlabel exports show how it is used, and print itself in a line?"""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

import tokenlabel
from tests.labels import random_labels
from tokenlabel import (
    BLENDED,
    Crops,
    Example,
    LabelTensor,
    Mix,
    Mixer,
    Paper,
    ResolveLabels,
    Traced,
    View,
    Warp,
    align,
    random_view,
    sparse_targets,
    token_targets,
)

OURS = [
    name for name in tokenlabel.__all__ if getattr(getattr(tokenlabel, name), "__module__", "").startswith("tokenlabel")
]
FUNCTIONS = [name for name in OURS if inspect.isfunction(inspect.unwrap(getattr(tokenlabel, name)))]


@pytest.mark.parametrize("name", OURS)
def test_each_name_is_explained_and_its_examples_hold(name: str) -> None:
    found = getattr(tokenlabel, name)
    assert found.__doc__
    module = inspect.getmodule(found)
    assert module is not None
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(found, name, module=module):
        report: list[str] = []
        runner.run(test, out=report.append)
        assert not runner.failures, "".join(report)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_an_example(name: str) -> None:
    assert doctest.DocTestParser().get_examples(getattr(tokenlabel, name).__doc__), f"{name} has no example"


def test_functions_are_found_among_the_names() -> None:
    assert {"align", "collate", "seeded", "token_label_loss"} <= {*FUNCTIONS}


def test_the_names_are_sorted_and_all_there() -> None:
    assert {*tokenlabel.__all__} >= {"BLENDED", "LVViT", "LabelTensor", "Paper", "Traced", "open_store"}
    assert all(hasattr(tokenlabel, name) for name in tokenlabel.__all__)
    with pytest.raises(AttributeError, match="module 'tokenlabel' has no attribute 'Recipe'"):
        _ = tokenlabel.Recipe
    lazy = "import tokenlabel, sys; assert 'torch' not in sys.modules; tokenlabel.Traced; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", lazy], check=True)


LABELS = random_labels(np.random.default_rng(0), 128)
VIEWS = [View.whole()] * 128
TARGETS = token_targets(LABELS, VIEWS, (14, 14))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (BLENDED, "BLENDED"),
        (Crops((64, 48)), "Crops((64, 48), draw=random_view, finish=normalised)"),
        (
            Example(torch.zeros(128, 3, 64, 64), TARGETS, torch.zeros(128)),
            "Example(pixels [128, 3, 64, 64], TokenTargets(pictures=128, tokens=196, classes=8), label [128])",
        ),
        (LabelTensor(LABELS[0], canvas=(30, 40)), "LabelTensor(6x5 grid, picture of 30x40 after 0 stages)"),
        (Mixer((14, 14), 40).draw(128, (64, 64), epoch=0, index=0), "Mix(pictures=128, tokens=14x14, level='pixels')"),
        (Mix((0,), (tokenlabel.mixing.mix.NOTHING,), (2, 3), "tokens"), "Mix(pictures=1, tokens=2x3, level='tokens')"),
        (Paper(), "Paper(axes='right', geometry='box')"),
        (ResolveLabels((4, 5), keep=3), "ResolveLabels(tokens=(4, 5), keep=3)"),
        (sparse_targets(LABELS, VIEWS, (14, 14)), "SparseTargets(pictures=128, tokens=196, classes=8)"),
        (align(LABELS[0], View.whole(), (2, 3)), "TokenScores(tokens=2x3, classes=34)"),
        (TARGETS, "TokenTargets(pictures=128, tokens=196, classes=8)"),
        (TARGETS[0], "TokenTargets(tokens=196, classes=8)"),
        (Traced([torch.nn.Identity()]), "Traced(Identity)"),
        (Warp.of(View.whole()), "Warp(stages=1)"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_values_print_in_a_line(value: Any, expected: str) -> None:
    assert repr(value) == expected


def test_other_values_print_in_a_line_too() -> None:
    for value in (Mixer((14, 14), 40), random_view(np.random.default_rng(0), (480, 640))):
        assert len(repr(value)) < 200
        assert "0x" not in repr(value)
