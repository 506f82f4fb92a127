"""Does each family of timm get what docs/annotators.md says, checked without the code that measured it?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

from annotate.errors import AnnotateError
from annotate.model.dense import DenseClassifier
from benchmarks.annotate.families import CLASSES, FAMILIES, MARK, build, models

PAGE = (Path(__file__).parents[3] / "docs/annotators.md").read_text()
# Neither position nor residual is strong enough in untrained LeViT for a location to depend most on its own pixels.
NO_PLACE = {"levit"}


def rows() -> Iterator[dict[str, str]]:
    """The table's rows by its columns."""
    head, _, *lines = (line for line in PAGE.partition(MARK)[2].splitlines() if line.startswith("|"))
    names = [cell.strip() for cell in head.strip("|").split("|")]
    for line in lines:
        yield dict(zip(names, (cell.strip() for cell in line.strip("|").split("|")), strict=True))


TABLE = {row["model"].partition(" ")[0]: row for row in rows()}


def test_the_table_has_every_classifier_family_of_timm_and_all_its_networks() -> None:
    families = {
        module.removeprefix("timm.models.")
        for name in timm.list_models()
        # Other tests register networks of their own.
        if (module := timm.model_entrypoint(name).__module__).startswith("timm.models.")
        and ((config := timm.get_pretrained_cfg(name)) is None or config.num_classes)
    }
    assert families - set(FAMILIES) == set()
    assert set(TABLE) == {name for _, name in models()}
    assert len(TABLE) >= 120


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_answers_as_the_table_says(family: str) -> None:
    name = FAMILIES[family].split()[0]
    expected = TABLE[name]
    model, size = build(name)
    assert expected["input"] == "x".join(map(str, size))
    if expected["local"].startswith("refused"):
        with pytest.raises(AnnotateError, match="has no faithful dense answer"):
            DenseClassifier(model, name).consistency(size)
        return
    dense = DenseClassifier(model, name)
    grid, classes, consistency = dense.consistency(size)
    assert (expected["grid"].partition(",")[0], classes) == ("x".join(map(str, grid)), CLASSES)
    assert str(consistency).partition(" (")[0] == expected["local"].partition(" (")[0]
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        logits, own = dense(pixels), model(pixels)
        assert logits.shape == (1, *grid, CLASSES)
        assert logits.std((1, 2)).min() > 0, "all locations are equal, so that this test shows nothing"
        if consistency.deviation is not None:
            assert apart(logits.mean((1, 2)), own) < (1e-3 if consistency.exact else 1)
        if expected["frozen"].startswith("exact"):
            frozen = DenseClassifier(model, name, "frozen")(pixels)
            assert apart(frozen.mean((1, 2)), own) < 1e-3
        features = model.forward_features(pixels)
        if isinstance(features, torch.Tensor) and features.ndim == 3 and family not in NO_PLACE:
            for row, column in ((grid[0] - 1, 0), (0, grid[1] - 1), (grid[0] // 2, 0)):
                there = moved(dense, pixels, logits, row, column)
                assert max(abs(there[0] - row), abs(there[1] - column)) <= 1, "convolutions reach a neighbour"


def apart(logits: torch.Tensor, own: torch.Tensor) -> float:
    """Relative, without the mean over classes, which softmax ignores."""
    logits, own = (values.double() - values.double().mean(-1, keepdim=True) for values in (logits, own))
    return float((logits - own).norm() / own.norm())


def moved(dense: DenseClassifier, pixels: torch.Tensor, logits: torch.Tensor, row: int, column: int) -> tuple[int, int]:
    """The location whose answer changes most when the pixels of one do; logits [1, h, w, C]: the answer to `pixels`."""
    changed = pixels.clone()
    (top, bottom), (left, right) = (
        (round(at * side / count), round((at + 1) * side / count))
        for at, side, count in zip((row, column), pixels.shape[2:], logits.shape[1:3], strict=True)
    )
    part = changed[:, :, top:bottom, left:right]
    part += 2 * torch.randn(part.shape, generator=torch.Generator().manual_seed(3))
    change = (dense(changed) - logits).abs().sum(-1)[0]
    return divmod(int(change.argmax()), logits.shape[2])
