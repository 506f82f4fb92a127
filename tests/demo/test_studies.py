"""Do the studies of stems and of students measure what they say, continue, and report what they stored?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from demo import study
from demo.students import SIZE, TOKENS, lvvit
from demo.studies import kinds, runs, stem, students
from demo.studies.diversity import diversity, effective_rank, similarity
from tests.demo.here import Here
from tokenlabel.models import DynamicViT

DOCS = Path(__file__).parents[2] / "docs"
TINY: dict[str, Any] = {"splits": {"train": 64, "val": 20}, "steps": 2, "epochs": 1, "seeds": 2}
STUDIES = {"stem": stem, "students": students}


def test_similarity_and_rank_are_their_definitions() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(3, 5, 7).double()
    cosines = []
    ranks = []
    for one in tokens.numpy():
        for i in range(5):
            cosines += [one[i] @ one[j] / np.linalg.norm(one[i]) / np.linalg.norm(one[j]) for j in range(5) if i != j]
        values = np.linalg.svd(one)[1]
        shares = values / values.sum()
        ranks.append(math.exp(-sum(share * math.log(share) for share in shares)))
    assert similarity(tokens) == pytest.approx(np.mean(cosines))
    assert effective_rank(tokens) == pytest.approx(np.mean(ranks))
    equal = torch.ones(1, 4, 3)
    assert (similarity(equal), effective_rank(equal)) == (pytest.approx(1), pytest.approx(1, abs=1e-4))
    assert effective_rank(torch.eye(4)[None]) == pytest.approx(4)


@torch.no_grad()
def test_diversity_is_of_the_stem_and_of_every_block() -> None:
    model, pixels = lvvit().eval(), torch.randn(2, 3, *SIZE)
    found = diversity(model, pixels)
    assert found is not None
    assert len(found.similarity) == len(found.rank) == 5
    assert found.similarity[0] == pytest.approx(similarity(model.patch_embed(pixels).flatten(2).transpose(1, 2)))
    torch.nn.init.constant_(model.blocks[1].mlp.fc2.bias, torch.nan)
    assert diversity(model, pixels) is None


def test_stems_have_the_parts_that_their_names_say() -> None:
    made = {name: lvvit(**options).patch_embed for name, options in stem.STEMS.items()}
    convolutions = {name: sum(isinstance(m, torch.nn.Conv2d) for m in one.modules()) for name, one in made.items()}
    assert convolutions == {name: 1 if name == stem.PATCHES else 4 for name in stem.STEMS}
    normed = {name for name, one in made.items() if any(isinstance(m, torch.nn.BatchNorm2d) for m in one.modules())}
    assert normed == {"and batch norm", "scaled ReLU: both"}
    assert {name for name, one in made.items() if any(one.relus)} == {"and ReLU", "scaled ReLU: both"}


def test_the_separating_setting_is_that_of_the_largest_distance() -> None:
    found = {run: {"accuracy": 0.5} for run in stem.grid()}
    for seed in range(stem.GRID_SEEDS):
        found[stem.Run("patches", 3e-3, False, seed)] = {"accuracy": 0.3}
        found[stem.Run("and ReLU", 1e-2, True, seed)] = {"accuracy": 0.6}
    assert stem.separating(found) == (3e-3, False)
    seeds = {run.seed for run in stem.others((3e-3, False), 5)}
    assert len(seeds) == 5
    assert not seeds & {run.seed for run in stem.grid()}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/study.md").write_text((DOCS / "study.md").read_text())
    return tmp_path / "docs"


@pytest.fixture
def two_stems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stem, "STEMS", {name: stem.STEMS[name] for name in (stem.PATCHES, stem.SCALED)})
    monkeypatch.setattr(stem, "RATES", (1e-3,))
    monkeypatch.setattr(stem, "GRID_SEEDS", 1)


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_study.py` has a study that uses processes."""
    for module in (study, runs):
        monkeypatch.setattr(module, "pool", Here)


@pytest.mark.usefixtures("two_stems", "single_threaded", "no_processes")
def test_the_study_of_stems_continues_and_writes_its_tables(tmp_path: Path, page: Path) -> None:
    lost = stem.Run(stem.PATCHES, 1e-3, False, 0)
    (tmp_path / "stem.jsonl").write_text(runs._line(lost, {"accuracy": 0.05, "similarity": None, "rank": None}) + "\n")
    found = stem.measure(tmp_path, **TINY)
    assert found[lost]["accuracy"] == 0.05
    assert len(found) == 2 * 2 + 2 * 2 == len((tmp_path / "stem.jsonl").read_text().splitlines())
    assert all(len(figures["rank"]) == 5 for run, figures in found.items() if run != lost)
    runs.write(page / "study-stem.json", found)
    stem.report(page)
    text = (page / "study.md").read_text()
    assert runs.read(page / "study-stem.json", stem.Run) == found
    assert "| patches | " in text
    assert "Effective rank" in text


def test_a_vt_resnet_is_compared_once_timm_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "is_model", lambda name: name == "vt_resnet18")
    assert "VT-ResNet" in {run.student for run in students.asked(1)}
    monkeypatch.setattr(timm, "is_model", lambda name: False)
    assert "VT-ResNet" not in {run.student for run in students.asked(1)}


def test_every_kind_answers_and_gives_the_features_of_its_tokens() -> None:
    torch.manual_seed(0)
    pixels = torch.randn(2, 3, *SIZE)
    made = {name: make().eval() for name, make in kinds.kinds().items()}
    made[kinds.DROPS_TOKENS] = kinds.dynamic_vit(made["LV-ViT"]).eval()
    with torch.inference_mode():
        for name, model in made.items():
            picture, tokens = model.logits(pixels)
            assert (picture.shape, tokens.shape) == ((2, 10), (2, 36, 10)), name
            features = kinds.features_of(model, pixels)
            assert features.shape[2:] == TOKENS, name
            head = getattr(model, "student", model).aux_head
            left = features.flatten(2).transpose(1, 2)
            kept = left.any(2)
            assert kept.all() == (name != kinds.DROPS_TOKENS)
            assert torch.allclose(head(left)[kept], tokens[kept], atol=1e-4), name
    pruned = made[kinds.DROPS_TOKENS]
    assert isinstance(pruned, DynamicViT)
    assert pruned.kept_counts() == (25, 17, 12)


@pytest.mark.usefixtures("single_threaded", "no_processes")
def test_the_study_of_students_continues_and_writes_its_table(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "BATCH", 8)  # pictures whose speed is measured
    todo = students.asked(2)
    known = {"weights": 7, "accuracy": 0.5, "miou": 0.25, "training_rate": 10.0, "evaluation_rate": 30.0}
    left = [run for run in todo if run.seed == 0 and run.labels == "token labels"]
    left = [run for run in left if run.student in (kinds.DROPS_TOKENS, "T2T-ViT", "CNN")]
    lines = [runs._line(run, known) for run in todo if run not in left]
    (tmp_path / "students.jsonl").write_text("\n".join(lines) + "\n")
    found = students.measure(tmp_path, **TINY)
    assert [*found] == todo
    for run, figures in found.items():
        assert (figures == known) == (run not in left)
        assert 0 <= figures["accuracy"] <= 1
        assert min(figures["training_rate"], figures["evaluation_rate"], figures["weights"]) > 0
    runs.write(page / "study-students.json", found)
    students.report(page)
    assert "| CNN | " in (page / "study.md").read_text()
    assert (page / "study-students.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_has_the_marks_and_the_tables_of_what_was_run(name: str, page: Path) -> None:
    """Where docs/ has a study's figures, its page shows them; else the page says that it has not been run."""
    kept, study = DOCS / f"study-{name}.json", STUDIES[name]
    section = (DOCS / "study.md").read_text().partition(f"written by `{study.COMMAND}` -->")[2]
    if not kept.exists():
        assert section.startswith("\n\n**Not run yet.**")
        return
    (page / kept.name).write_text(kept.read_text())
    study.report(page)
    assert (page / "study.md").read_text() == (DOCS / "study.md").read_text()
    assert len({run.seed for run in runs.read(kept, study.Run)}) >= 5
