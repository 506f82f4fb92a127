"""Do the benchmarks of labelling measure what they say? Of each a small slice; no time is asserted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.annotate import best, labelling
from storage import open_store, verify


def test_parts_of_shards_are_counted_between_two_moments() -> None:
    ended = [10.0, 20.0, 40.0]
    assert labelling.shards_between(ended, 10, 40) == pytest.approx(2)
    assert labelling.shards_between(ended, 15, 30) == pytest.approx(1)


def test_every_way_of_labelling_has_its_rate_and_every_step_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # read by new processes: one of five that compile is enough here
    found = labelling.measure(tmp_path, networks={"test_resnet": 64}, rounds=1, shards=4)
    assert [*found.rates["test_resnet"]] == [labelling.BARE, labelling.OURS, labelling.PUBLISHED]
    assert all(rate > 0 for (rate,) in found.rates["test_resnet"].values())
    assert all(found.steps["test_resnet"][step] > 0 for step in labelling.STEPS)
    assert verify(open_store(tmp_path / "test_resnet-0.zarr"), deep=True).state == "ok"
    assert len(list((tmp_path / "pickles").rglob("*.pt"))) >= labelling.BATCH
    assert "JPEG files of 500x375" in found.describe()


# Of docs/best.md a network of each kind of head, and of those whose input timm says in several ways.
AMONG_THE_BEST = (
    "caformer_s36.sail_in22k_ft_in1k_384",
    "cait_s24_384.fb_dist_in1k",
    "convnextv2_tiny.fcmae_ft_in22k_in1k_384",
    "maxvit_tiny_tf_384.in1k",
    "tf_efficientnet_b7.ap_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "volo_d1_384.sail_in1k",
    "xcit_small_12_p8_384.fb_dist_in1k",
)


def test_the_page_of_timms_best_networks_says_how_each_answers() -> None:
    text = (Path(__file__).parents[2] / "docs/best.md").read_text().partition(best.BEGIN)[2].partition(best.END)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = {model: (float(top1), kind, grid) for model, top1, kind, grid in cells[2:]}
    assert len(rows) == len(cells) - 2 == 200
    assert [top1 for top1, *_ in rows.values()] == sorted((top1 for top1, *_ in rows.values()), reverse=True)
    kinds = Counter(kind for _, kind, _ in rows.values()).most_common()
    assert f"Of the best 200: {', '.join(f'{number} {kind}' for kind, number in kinds)}." in text
    assert {model: best.asked(model) for model in AMONG_THE_BEST} == {
        model: rows[model][1:] for model in AMONG_THE_BEST
    }
