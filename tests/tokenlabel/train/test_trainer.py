"""Does the trainer do what its settings say, and the same after an interruption?"""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.data import create_transform
from torch.nn.functional import cross_entropy
from torchvision.datasets import ImageFolder

from tokenlabel import LabelError
from tokenlabel.losses.class_label import smooth_label
from tokenlabel.losses.soft_cross_entropy import soft_cross_entropy
from tokenlabel.models import LVViT
from tokenlabel.train.__main__ import main
from tokenlabel.train.settings import TrainSettings
from tokenlabel.train.student import student

PROGRAM = [sys.executable, "-m", "tokenlabel.train"]
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def arguments(small_demo: Path, tmp_path: Path) -> list[str]:
    """A training of 3 epochs of 4 steps: LV-ViT-T on 32 pixels, 2x2 tokens."""
    out = small_demo / "demo/out"
    values = {
        "config": "lvvit_t.toml", "data": out / "images/train", "labels": out / "labels-train.zarr",
        "val": out / "images/val", "output": tmp_path / "run", "img-size": 32, "batch-size": 30, "amp": "float32",
        "epochs": 2, "cooldown-epochs": 1, "warmup-epochs": 1, "workers": 0, "ema-decay": 0.5, "lr": 0.01,
        "device": "cpu",
    }  # fmt: skip
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def changed(arguments: list[str], **values: object) -> list[str]:
    return [
        *arguments,
        *(word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))),
    ]


def state(folder: Path, name: str = "last.pt") -> dict[str, Any]:
    return torch.load(folder / name, weights_only=True)


def steps(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return [{name: line[name] for name in line if "second" not in name} for line in csv.DictReader(file)]


@pytest.mark.usefixtures("single_threaded")
def test_a_training_that_was_killed_takes_the_same_steps(arguments: list[str], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    main(changed(arguments, output=whole))
    # Readers of their own change nothing, either.
    running = subprocess.Popen([*PROGRAM, *changed(arguments, output=killed, workers=1)], env=os.environ | ALONE)
    while not (killed / "last.pt").exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = len(state(killed)["log"])
    assert 1 <= done < 3
    main(changed(arguments, output=killed, workers=1))
    assert [line["epoch"] for line in steps(whole)] == ["0", "1", "2"]
    assert steps(killed) == steps(whole)
    for part in ("state_dict", "state_dict_ema"):
        ours, theirs = state(killed)[part], state(whole)[part]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert float(steps(whole)[2]["loss"]) < float(steps(whole)[0]["loss"])
    assert not torch.equal(state(whole)["state_dict"]["head.weight"], state(whole)["state_dict_ema"]["head.weight"])


@pytest.mark.usefixtures("single_threaded")
def test_a_finished_training_is_judged_continued_and_taken_for_larger_pictures(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    main(arguments)
    before = state(run)
    logged = steps(run)
    (run / "log.csv").unlink()
    main(arguments)  # there is nothing left to do
    assert "run: all 3 epochs are done" in capsys.readouterr().out
    assert steps(run) == logged
    assert len(before["log"]) == len(state(run)["log"]) == 3
    best = max(before["log"], key=lambda line: line["average_top1"])  # of the weights that the file gives
    assert state(run, "best.pt")["log"][-1]["epoch"] == best["epoch"]

    capsys.readouterr()
    val = arguments[arguments.index("--val") + 1]
    main(["--evaluate", "--val", val, "--output", str(run), "--amp", "float32", "--workers", "0"])
    model = timm.create_model("lvvit_t", num_classes=10, img_size=32, checkpoint_path=str(run / "last.pt")).eval()
    pictures = ImageFolder(val, create_transform(32, crop_pct=0.9, interpolation="bicubic"))
    with torch.inference_mode():
        logits = model(torch.stack([pixels for pixels, _ in pictures]))
    right = (logits.argsort(1, descending=True)[:, :5] == torch.tensor(pictures.targets)[:, None]).double()
    expected = f"top-1 {100 * right[:, 0].mean():.2f} %, top-5 {100 * right.sum(1).mean():.2f} %"
    assert expected in capsys.readouterr().out
    assert f"{before['log'][-1]['average_top1']:.6f}" == f"{right[:, 0].mean():.6f}"

    larger = changed(arguments, img_size=48, initial=run / "best.pt", output=tmp_path / "larger", epochs=1, lr=1e-9)
    main(changed(larger, cooldown_epochs=0, warmup_epochs=0, drop_path=0, ema_decay=0))
    grown, origin = state(tmp_path / "larger")["state_dict"], state(run, "best.pt")["state_dict_ema"]
    assert grown["pos_embed"].shape[1] == 10
    assert torch.allclose(grown["head.weight"], origin["head.weight"], atol=1e-6)
    assert "state_dict_ema" not in state(tmp_path / "larger")


def test_two_processes_share_a_training(arguments: list[str], tmp_path: Path) -> None:
    short = changed(arguments, epochs=1, cooldown_epochs=0, warmup_epochs=0, picture="class", clip_grad=1)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "tokenlabel.train", *short],
        env=os.environ | ALONE,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (line,) = steps(tmp_path / "run")
    assert float(line["lr"]) == pytest.approx(0.01 * 60 / 1024)
    assert done.stdout.count("epoch 0") == 1
    with pytest.raises(SystemExit, match="a training with 2 processes, not 1. Resume with the same settings, or give"):
        main(short)


def test_bfloat16_and_recomputed_blocks(arguments: list[str], tmp_path: Path) -> None:
    pictures = arguments[arguments.index("--val") + 1]  # few: bfloat16 is slow on most CPUs
    labels = Path(pictures).parent.parent / "labels-val.zarr"
    short = changed(arguments, data=pictures, labels=labels, val="", batch_size=15, workers=1, amp="bfloat16")
    short = changed(short, epochs=1, cooldown_epochs=0, warmup_epochs=0)
    main([*short, "--grad-checkpointing", "--no-mixtoken"])
    assert 1 < float(steps(tmp_path / "run")[0]["loss"]) < 10


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("model", ["test_vit", "resnet18", "t2t_vit_7", "vt_resnet18"])
def test_any_network_with_tokens_is_trained_resumed_and_judged(
    model: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    val = arguments[arguments.index("--val") + 1]
    labels = Path(val).parent.parent / "labels-val.zarr"
    short = changed(arguments, model=model, data=val, labels=labels, token_share=0.25, warmup_epochs=0, batch_size=15)
    main(changed(short, epochs=1, cooldown_epochs=0))
    main(changed(short, initial=tmp_path / "run/last.pt", output=tmp_path / "second", epochs=1, cooldown_epochs=0))
    capsys.readouterr()
    main(["--evaluate", "--val", val, "--output", str(tmp_path / "run"), "--amp", "float32", "--workers", "0"])
    assert re.match(r"top-1 [\d.]+ %, top-5", capsys.readouterr().out)
    trained = state(tmp_path / "run")
    assert trained["state_dict"]["aux_head.weight"].any()  # it began at zero, but for VT-ResNet
    assert trained["settings"]["token_share"] == 0.25
    settings = TrainSettings(model=model, img_size="32", initial=str(tmp_path / "run/last.pt"), token_share=0.25)
    assert student(settings, 10).token_share == 0.25


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 1e8, "warmup_epochs": 0}, "the loss is nan at step .* try a lower --lr"),
        ({"model": "pit_ti_224", "drop_path": 0}, "pit_ti_224 cannot be trained with --img-size 32: .* 0 tokens"),
        ({"model": "vgg11"}, "vgg11 has no stochastic depth; give --drop-path 0"),
        ({"img_size": 40}, "lvvit_t cannot be trained with --img-size 40: 40x40 pixels cannot be divided into patches"),
        ({"model": "lvvit_x"}, "timm has no model 'lvvit_x'; give one that it knows as --model, such as lvvit_"),
        ({"initial": "nowhere.pt"}, "there are no weights at nowhere.pt"),
        ({"batch_size": 121}, "120 pictures are too few for 1 processes with 121 at each step; give a lower --batch"),
        ({"labels": "nowhere.zarr"}, "there is no store at nowhere.zarr"),
        ({"data": "nowhere"}, "nowhere"),
        ({"output": "/proc/nowhere"}, "/proc/nowhere"),
        ({"data": __file__}, "test_trainer.py"),
        ({"initial": __file__}, "test_trainer.py cannot be read as a checkpoint"),
        ({"auto_augment": "nonsense"}, "timm cannot make augmentations of auto_augment 'nonsense'"),
        ({"data": ""}, "--data is needed: the folder of training pictures"),
    ],
)
def test_what_a_user_can_repair_is_said_in_a_line(arguments: list[str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        main(changed(arguments, **changes))


def test_weights_of_other_classes_keep_all_but_the_heads(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = LVViT(3, img_size=32, embed_dim=240, depth=12, num_heads=4)
    torch.save(other.state_dict(), tmp_path / "three.pt")
    settings = TrainSettings(model="lvvit_t", img_size="32", initial=str(tmp_path / "three.pt"))
    model, fresh = student(settings, 10, new_heads=True), student(replace(settings, initial=""), 10)
    assert (
        "three.pt has weights of 3 classes: head.weight, head.bias, aux_head.weight, aux_head.bias begin anew for 10"
        in caplog.text
    )
    assert torch.equal(model.blocks[3].mlp.fc1.weight, other.blocks[3].mlp.fc1.weight)
    assert all(
        torch.equal(model.get_parameter(f"{head}.weight"), fresh.get_parameter(f"{head}.weight"))
        for head in ("head", "aux_head")
    )
    with pytest.raises(LabelError, match=r"(?s)three.pt are not those of this model and its classes: .*head.weight"):
        student(settings, 10)  # to evaluate with heads that were never trained would say nothing


def test_a_training_on_wide_pictures_is_resumed_and_judged(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    val = arguments[arguments.index("--val") + 1]
    labels = Path(val).parent.parent / "labels-val.zarr"
    wide = changed(
        arguments, img_size="32x48", data=val, labels=labels, batch_size=15, warmup_epochs=0, cooldown_epochs=0
    )
    main(changed(wide, epochs=1))
    main(changed(wide, epochs=1))
    trained = state(tmp_path / "run")
    assert trained["state_dict"]["pos_embed"].shape[1] == 1 + 2 * 3
    capsys.readouterr()
    main(["--evaluate", "--val", val, "--output", str(tmp_path / "run"), "--amp", "float32", "--workers", "0"])
    assert re.match(r"top-1 [\d.]+ %, top-5", capsys.readouterr().out)


def test_a_val_of_other_classes_is_refused(arguments: list[str], tmp_path: Path) -> None:
    pictures = Path(arguments[arguments.index("--val") + 1])
    (tmp_path / "val").mkdir()
    (tmp_path / "val/0").symlink_to(pictures / "0")
    with pytest.raises(SystemExit, match="val has 1 class folders, and the student has 10 classes; give a folder"):
        main(changed(arguments, val=tmp_path / "val"))


@pytest.mark.usefixtures("single_threaded")
def test_other_class_folders_are_taught_the_annotators_labels_alone(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    val, pictures = (Path(arguments[arguments.index(name) + 1]) for name in ("--val", "--data"))
    (tmp_path / "two").mkdir()
    for name in ("0", "1"):
        (tmp_path / "two" / name).symlink_to(pictures / name)
    two = changed(arguments, data=tmp_path / "two", val="", batch_size=2, epochs=1, cooldown_epochs=0)
    main(two)
    assert (
        "two has 2 class folders, and the labels are of 10 classes: the annotator's labels alone teach" in caplog.text
    )
    assert state(tmp_path / "run")["classes"] == [str(number) for number in range(10)]
    with pytest.raises(SystemExit, match="two has 2 class folders, .* cannot teach; give --picture annotator"):
        main(changed(two, picture="class", output=tmp_path / "other"))
    with pytest.raises(SystemExit, match="two has 2 class folders, and the student has 10 classes"):
        main(changed(two, val=tmp_path / "two", output=tmp_path / "another"))
    main(changed(two, val=val, output=tmp_path / "third"))


def test_other_settings_do_not_resume(arguments: list[str], tmp_path: Path) -> None:
    short = changed(arguments, epochs=1, cooldown_epochs=0)
    main(short)
    with pytest.raises(
        SystemExit, match="run has a training with smoothing 0.1, not 0.2. Resume with the same settings"
    ):
        main(changed(short, smoothing=0.2))
    main(changed(short, workers=1, initial="gone.pt"))  # which change nothing that is learnt now
    folder = Path(arguments[arguments.index("--data") + 1]).parent
    with pytest.raises(
        SystemExit, match="a training with other pictures or other labels. Resume with the same settings"
    ):
        main(changed(short, data=folder / "val", labels=folder.parent / "labels-val.zarr"))
    (tmp_path / "run/last.pt").write_bytes((tmp_path / "run/last.pt").read_bytes()[:1000])
    with pytest.raises(SystemExit, match="last.pt cannot be read as a checkpoint .*: it is incomplete, or .* complete"):
        main(short)


def test_class_labels_are_smoothed_as_pytorch_smooths_them() -> None:
    logits, label = torch.randn(4, 7), torch.tensor([0, 3, 3, 6])
    classes, probabilities = torch.stack([label, label.flip(0)], 1), torch.tensor([[0.7, 0.3]] * 4)
    ours = soft_cross_entropy(logits, *smooth_label((classes, probabilities), 0.1, class_count=7))
    one, other = (cross_entropy(logits, some, label_smoothing=0.1, reduction="none") for some in (label, label.flip(0)))
    assert torch.allclose(ours, 0.7 * one + 0.3 * other, atol=1e-6)
