"""Is a student that drops tokens trained from its un-pruned teacher, its base later and slower than its predictors?"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tokenlabel import LabelError
from tokenlabel.train.__main__ import main
from tokenlabel.train.lesson import Lesson
from tokenlabel.train.rates import make_optimizer, set_base_rate
from tokenlabel.train.settings import TrainSettings
from tokenlabel.train.student import student
from tokenlabel.train.trainer import Trainer

CONFIG = "dynamicvit_lvvit_s_07.toml"


@pytest.fixture
def arguments(small_demo: Path, tmp_path: Path) -> list[str]:
    """One epoch in which the base is frozen, and one in which it learns: 2x2 tokens, of which 2, 1 and 1 are kept."""
    out = small_demo / "demo/out"
    base = timm.create_model("lvvit_s", num_classes=10, img_size=32)
    torch.save(base.state_dict(), tmp_path / "base.pt")
    values = {
        "config": CONFIG, "data": out / "images/val", "labels": out / "labels-val.zarr", "val": out / "images/val",
        "output": tmp_path / "run", "img-size": 32, "batch-size": 15, "lr-batch": 15, "amp": "float32", "epochs": 2,
        "warmup-epochs": 0, "frozen-epochs": 1, "workers": 0, "ema-decay": 0, "initial": tmp_path / "base.pt",
        "teacher": tmp_path / "base.pt", "device": "cpu",
    }  # fmt: skip
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def weights(run: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    saved: dict[str, Any] = torch.load(run / name, weights_only=True)
    return saved.get("state_dict", saved)


@pytest.mark.usefixtures("single_threaded")
def test_the_base_is_frozen_first_and_learns_slower_then(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, base = tmp_path / "run", weights(tmp_path, "base.pt")
    one_epoch = Trainer._train_one_epoch

    def stopped(trainer: Trainer) -> float:
        if trainer.epoch == 1:
            raise OSError("no space left")
        return one_epoch(trainer)

    monkeypatch.setattr(Trainer, "_train_one_epoch", stopped)
    with pytest.raises(SystemExit, match="no space left"):
        main(arguments)
    monkeypatch.undo()
    learnt = [name for name in base if "running" not in name and "batches" not in name]
    first = weights(run)
    assert all(torch.equal(first[name], base[name]) for name in learnt)
    assert first["score_predictor.2.out_conv.4.bias"].any()  # it began at zero

    # Stopped after the first epoch and started again, it takes the same steps as at once.
    main(arguments)
    main([*arguments, "--output", str(tmp_path / "at-once")])
    at_once = weights(tmp_path / "at-once")
    assert all(torch.equal(value, at_once[name]) for name, value in weights(run).items())
    whole = weights(run)
    moved = max(float((whole[name] - base[name]).abs().max()) for name in learnt)
    assert 0 < moved < 0.1 * float(whole["score_predictor.2.out_conv.4.bias"].abs().max())
    with (run / "log.csv").open() as file:
        assert float(next(csv.DictReader(file))["lr"]) == pytest.approx(1e-3)  # that of the predictors
    main(["--evaluate", "--val", arguments[arguments.index("--val") + 1], "--output", str(run), "--workers", "0"])


@pytest.mark.parametrize(
    ("name", "added"),
    [("lvvit_s", ("score_predictor.",)), ("deit_256", ("score_predictor.", "aux_head."))],  # of no DeiT is that head
)
def test_each_group_keeps_its_rate_and_its_decay(name: str, added: tuple[str, ...]) -> None:
    settings = TrainSettings(
        model=f"dynamicvit_{name}_07", img_size="32", drop_path=0, base_rate=0.01, frozen_epochs=2, lr=1.0
    )
    model = student(settings, 10)
    optimizer = make_optimizer(settings, model, 1.0)
    named = {id(weight): name for name, weight in model.named_parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(named)
    for epoch, of_base in ((0, 0.0), (1, 0.0), (2, 0.01)):
        set_base_rate(optimizer, settings, epoch)
        for group in optimizer.param_groups:
            for weight in group["params"]:
                name = named[id(weight)]
                assert group.get("lr_scale", 1.0) == (1.0 if name.startswith(added) else of_base), name
                spared = weight.ndim < 2 or name in ("cls_token", "pos_embed")
                assert group["weight_decay"] == (0 if spared else settings.weight_decay), name


def test_a_teacher_stays_in_evaluation_mode_and_gets_no_gradient(tmp_path: Path) -> None:
    settings = TrainSettings(
        model="dynamicvit_lvvit_s_07", img_size="32", drop_path=0, teacher=str(tmp_path / "base.pt")
    )
    torch.save(timm.create_model("lvvit_s", num_classes=10, img_size=32).state_dict(), settings.teacher)
    lesson = Lesson(settings, student(settings, 10)).train()
    assert lesson.model.training
    assert lesson.teacher is not None
    assert not any(module.training for module in lesson.teacher.modules())
    assert {name.split(".")[0] for name, weight in lesson.named_parameters() if weight.requires_grad} == {"model"}


def test_a_teacher_without_a_head_for_tokens_is_imitated_in_its_answers_for_pictures_alone(tmp_path: Path) -> None:
    file = tmp_path / "deit.pt"
    torch.save(timm.create_model("deit_tiny_patch16_224", embed_dim=256, num_heads=4, num_classes=5).state_dict(), file)
    settings = TrainSettings(model="dynamicvit_deit_256_07", drop_path=0, teacher=str(file))
    model = student(settings, 5)
    with pytest.raises(LabelError, match=r"deit.pt have no head for tokens, .*; give --teacher-token-weight 0, or a"):
        Lesson(settings, model)
    Lesson(replace(settings, teacher_token_weight=0), model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--model", "lvvit_t", "--initial", "", "--base-rate", "1", "--frozen-epochs", "0"],
            "lvvit_t learns from no teacher; leave out --teacher, or train a student that drops",
        ),
        (
            ["--model", "lvvit_t", "--initial", "", "--teacher", ""],
            "lvvit_t adds nothing to a base, so that --base-rate",
        ),
        (["--teacher", "nowhere.pt"], "there are no weights at nowhere.pt"),
        (["--model", "dynamicvit_lvvit_m_07", "--initial", ""], "base.pt are not those of this model and its classes"),
        (["--initial", ""], None),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(arguments: list[str], changes: list[str], message: str | None) -> None:
    if message is None:  # a student may begin with other weights than its teacher's
        main([*arguments, *changes, "--epochs", "1"])
    else:
        with pytest.raises(SystemExit, match=f"(?s)error: .*{message}"):
            main([*arguments, *changes])
