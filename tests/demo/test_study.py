"""Are the study's comparisons fair, its statistics right, and its tables made from the stored runs?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn.functional import one_hot

from demo import label_variants, study, study_report, teaching
from demo.label_variants import averaged, coarsened, truncated
from demo.probe import NOTHING, probe, truths
from demo.students import SIZE, STUDENTS, TOKENS, token_features
from demo.study import BASE, Result, Run
from demo.study_report import Difference
from demo.teaching import TEACHINGS, WholePicture, train
from storage import Box, LabelMap, Status, open_store
from tests.demo.here import Here
from tokenlabel import Mixer, View, token_targets

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def labels() -> LabelMap:
    """Two pictures of 4x4 locations, all of ten classes, best first."""
    scores = np.sort(np.random.default_rng(0).dirichlet(np.ones(10), (2, 4, 4)).astype(np.float32))[..., ::-1]
    classes = np.random.default_rng(1).permuted(np.broadcast_to(np.arange(10), scores.shape), axis=-1)
    return LabelMap(
        classes.astype(np.uint16),
        np.ascontiguousarray(scores),
        np.tile(np.array([0, 0, 1, 1], np.float32), (2, 1)),
        np.array([[48, 64], [64, 48]], np.uint32),
        np.full(2, Status.LABELLED, np.uint8),
    )


def by_class(labels: LabelMap) -> np.ndarray:
    found = np.zeros((*labels.scores.shape[:-1], 10))
    np.put_along_axis(found, labels.classes.astype(int), labels.scores, -1)
    return found


def test_variants_of_labels_change_one_thing(labels: LabelMap) -> None:
    three = truncated(3)(labels)
    assert (three.classes == labels.classes[..., :3]).all()
    assert (three.scores == labels.scores[..., :3]).all()
    means = by_class(averaged((2, 2))(labels))
    assert np.allclose(means, by_class(labels).reshape(2, 2, 2, 2, 2, 10).mean((2, 4)), atol=1e-6)
    same = coarsened(7)(labels)
    assert np.abs(np.sqrt(by_class(same)) - np.sqrt(by_class(labels)))[..., 1:].max() < 0.05
    two = coarsened(2)(truncated(5)(labels))
    assert (np.diff(two.scores) <= 1e-6).all()
    levels = np.array([0, 1, 4, 9, 16]) / 16
    derived = two.scores.max(-1)
    others = np.where(two.scores == derived[..., None], 0, two.scores)
    assert all(np.isclose(others, level, atol=1e-6).any() for level in levels[:2])
    errors = [np.abs(by_class(coarsened(bits)(labels)) - by_class(labels)).mean() for bits in (1, 2, 3, 5, 7)]
    assert errors == sorted(errors, reverse=True)


def test_a_variant_is_a_store_of_the_same_pictures(finished: Path, tmp_path: Path) -> None:
    label_variants.write(finished, tmp_path / "v.zarr", (truncated(3), averaged((4, 4))))
    origin, variant = open_store(finished), open_store(tmp_path / "v.zarr")
    assert list(variant.keys) == list(origin.keys)
    assert (variant.schema.grid, variant.schema.k) == ((4, 4), 3)
    assert (variant.read(range(30)).sizes == origin.read(range(30)).sizes).all()


def test_whole_picture_distillation_teaches_every_crop_the_same(labels: LabelMap) -> None:
    crops = [View.whole(), View.whole()]
    once = WholePicture().targets(labels, crops, (4, 4), class_count=10, keep=8)
    crop = View(Box(0, 0, 0.5, 0.5), True)
    again = WholePicture().targets(labels, [crop, crop], (4, 4), class_count=10, keep=8)
    assert torch.equal(once.probabilities, again.probabilities)
    picture = torch.zeros(2, 10).scatter_add_(1, once.classes[:, 0].long(), once.probabilities[:, 0]).numpy()
    eight_best = np.sort(by_class(labels).mean((1, 2)))[:, 2:]
    assert np.allclose(np.sort(picture)[:, 2:], eight_best, atol=1e-5)
    assert not np.allclose(token_targets(labels, [crop, crop], (4, 4)).probabilities[:, 0], once.probabilities[:, 0])


@pytest.mark.parametrize("name", STUDENTS)
@torch.no_grad()
def test_students_answer_row_by_row_and_mix_their_tokens(name: str) -> None:
    torch.manual_seed(0)
    model = STUDENTS[name]().eval()
    pixels = torch.randn(4, 3, *SIZE)
    picture, tokens = model.logits(pixels)
    assert (picture.shape, tokens.shape) == ((4, 10), (4, 36, 10))
    features = token_features(model, pixels)
    assert features.shape == (4, 64, *TOKENS)
    assert torch.allclose(model.aux_head(features.flatten(2).transpose(1, 2)), tokens, atol=1e-5)
    mix = Mixer(TOKENS, 10, mixup=0, cutmix=0, mixtoken=1.0, seed=3).draw(4, SIZE, epoch=0, index=0)
    assert 0 < float(mix.fractions[0, 0]) < 1
    mixed = model.logits(pixels, mix)
    assert not torch.equal(mixed[0], picture)
    # Each token's answer is given back to its own picture: it is nearer to what it was than to its partner's.
    own, partner = ((mixed[1] - other).square().mean() for other in (tokens, tokens.flip(0)))
    assert float(own) < float(partner)


@pytest.mark.usefixtures("single_threaded")
def test_teachings_differ_in_what_is_taught_alone(small_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures, their order and first weights are equal; what the loss is given is not."""
    given: dict[str, list[tuple[torch.Tensor, ...]]] = {}
    out = small_demo / "demo/out"
    for name, each in TEACHINGS.items():
        heard: list[tuple[torch.Tensor, ...]] = []

        def loss(picture, tokens, targets, *, label, token_weight, heard=heard, plain=teaching.token_label_loss):
            value = plain(picture, tokens, targets, label=label, token_weight=token_weight)
            named = torch.zeros(()) if label is None else torch.ones(())
            heard.append((targets.probabilities, named, torch.tensor(token_weight), picture.detach()))
            return value

        monkeypatch.setattr(teaching, "token_label_loss", loss)
        model = train(out / "images/train", out / "labels-train.zarr", each, seed=2, student="CNN", epochs=1)
        monkeypatch.undo()
        assert not model.training
        given[name] = heard
    first = {name: heard[0] for name, heard in given.items()}
    plain = first["class labels"]
    for name, (_, named, weight, picture) in first.items():
        assert bool(named) == (TEACHINGS[name].picture == "class")
        assert float(weight) == TEACHINGS[name].token_weight
        assert torch.equal(picture, plain[3]) == (not TEACHINGS[name].mixtoken)  # before the first step
    assert torch.equal(first["ours"][0], plain[0])
    others = ("ours", "whole-picture distillation")
    rules = [first[name][0] for name in TEACHINGS if "paper" in name or name in others]
    assert not any(a.shape == b.shape and torch.equal(a, b) for n, a in enumerate(rules) for b in rules[:n])


class KnowsTheTruth(torch.nn.Module):
    """Features that are one number for each digit at the middle of a token, or noise."""

    def __init__(self, noise: bool) -> None:
        super().__init__()
        self.noise = noise

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        features = one_hot(pixels[:, 0, 4::8, 4::8].long(), 64).flatten(1, 2).float()
        features = torch.randn(features.shape) if self.noise else features
        return torch.cat([torch.zeros(len(features), 1, 64), features], 1)


def test_the_probe_reads_what_is_where(small_demo: Path) -> None:
    """From features that are the truth at each token it predicts most pixels; from noise none."""
    out = small_demo / "demo/out"
    truth = truths(out / "images/train", out / "truth/train")
    assert truth.shape == (120, *SIZE)
    assert set(truth.unique().tolist()) == {*range(NOTHING + 1)}
    both = truth[:, None].expand(-1, 3, -1, -1), truth
    seen, blind = (probe(KnowsTheTruth(noise), both, both, seed=0) for noise in (False, True))
    assert seen.miou > 0.4 > 0.1 > blind.miou
    assert seen.pixel_accuracy > 0.8


def test_differences_are_students_paired_t() -> None:
    ours, theirs = [0.81, 0.84, 0.80, 0.86, 0.83], [0.80, 0.80, 0.81, 0.82, 0.80]
    found = Difference.of(ours, theirs)
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found.mean - found.half_width == pytest.approx(interval.low)
    assert found.mean + found.half_width == pytest.approx(interval.high)
    assert found.is_sure == (stats.ttest_rel(ours, theirs).pvalue < 0.05)
    # In many random samples with this true difference, the test finds it in about 80 of 100.
    rng = np.random.default_rng(0)
    sd = np.std(np.subtract(ours, theirs), ddof=1)
    draws = rng.normal(found.detectable, sd, (20000, 5))
    power = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert 0.74 < power < 0.86


@pytest.mark.usefixtures("single_threaded")
def test_a_study_continues_where_it_ended_and_reports_what_it_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    monkeypatch.setattr(study, "pool", Here)  # the student below has a process of its own
    worth = study.make_labels(out, {"train": 64, "val": 20}, steps=2)
    assert list(worth) == list(study.LABELS)
    assert all(open_store(out / study.file_of(name)).schema.class_count == 10 for name in worth)
    todo = [Run("CNN", "ours", BASE, 0), Run("LV-ViT", "ours with MixToken", BASE, 0)]
    known = Result(0.5, 0.5, 0.25, 0.75)
    study.keep_run(out / "runs.jsonl", todo[0], known)
    study.study(out, todo, epochs=1)
    found = dict(study.read_runs(out / "runs.jsonl"))
    assert found[todo[0]] == known
    assert all(0 <= value <= 1 for value in found[todo[1]])
    assert len((out / "runs.jsonl").read_text().splitlines()) == 2


def test_the_page_has_the_tables_of_the_runs(tmp_path: Path) -> None:
    """docs/study.md as it is is what the report makes of docs/study.json, every student of which was asked for."""
    kept = json.loads((DOCS / "study.json").read_text())
    seeds = 1 + max(line["seed"] for line in kept["runs"])
    assert seeds >= 5
    asked = list(study.runs(seeds))
    assert [Run(*(line[name] for name in Run.__dataclass_fields__)) for line in kept["runs"]] == asked
    page, picture = tmp_path / "study.md", tmp_path / "study.png"
    page.write_text((DOCS / "study.md").read_text().replace("| ", "| 9"))
    study.write_report(DOCS / "study.json", page, picture)
    begin, end = study_report.marks()
    written, expected = (path.read_text().partition(begin)[2].partition(end)[0] for path in (page, DOCS / "study.md"))
    assert written == expected
    assert picture.stat().st_size > 10_000
    with pytest.raises(ValueError, match="lacks the marks for tables"):
        study_report.write(DOCS / "format.md", "")


def test_readme_and_the_demos_page_quote_what_the_study_shows() -> None:
    """Every figure in their tables of the study is one of docs/study.md's."""
    page, demo, readme = ((DOCS.parent / name).read_text() for name in ("docs/study.md", "docs/demo.md", "README.md"))
    table = demo.partition("| | accuracy, LV-ViT |")[2].partition("\n\n")[0]
    short = re.findall(r"\d+\.\d ± \d+\.\d", readme)
    assert len(short) == 4
    assert not [figure for figure in short if figure not in table]
    quoted = re.findall(r"[+−]?\d+\.\d ± \d+\.\d", table)
    assert len(quoted) == 36
    assert not [figure for figure in quoted if f" {figure} |" not in page and f"**{figure}**" not in page]
