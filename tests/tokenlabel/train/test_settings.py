"""Are settings read from files and the command line, checked, and shipped as the paper has them?"""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenlabel.train.settings import TrainSettings


@pytest.mark.parametrize("size", ["0", "224x", "x224", "224x224x3", "-32", "2e3"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match="img_size must be pixels, such as 224, or 224x320 for height and width, not"):
        TrainSettings(img_size=size)


# What seeds of the paper say, one by one, and not read from the files.
@pytest.mark.parametrize(
    ("name", "drop_path", "lr", "augment", "crop_pct"),
    [
        ("lvvit_s", 0.1, 1.6e-3, "rand-m9-", 0.9),
        ("lvvit_m", 0.2, 1.6e-3, "rand-m9-", 1.0),
        ("lvvit_l", 0.3, 1e-3, "rand-n3-m9-", 1.0),
        ("lvvit_t", 0.1, 1.6e-3, "rand-m9-", 0.9),
    ],
)
def test_the_papers_settings_are_shipped(name: str, drop_path: float, lr: float, augment: str, crop_pct: float) -> None:
    settings, _ = TrainSettings.from_arguments(["--config", f"{name}.toml"])
    found = settings.model, settings.drop_path, settings.lr, settings.lr_batch, settings.crop_pct, settings.size
    assert found == (name, drop_path, lr, 1024, crop_pct, (224, 224))
    assert settings.auto_augment.startswith(augment)
    assert (settings.epochs, settings.cooldown_epochs, settings.warmup_epochs) == (300, 10, 5)
    assert (settings.min_lr, settings.warmup_lr, settings.weight_decay, settings.ema_decay) == (
        1e-5,
        1e-6,
        0.05,
        0.99992,
    )
    assert (settings.reprob, settings.smoothing, settings.scale_min, settings.mixtoken) == (0.25, 0.1, 0.08, True)
    tuned, _ = TrainSettings.from_arguments(["--config", f"{name}_384.toml"])
    assert (tuned.size[0], tuned.lr, tuned.min_lr, tuned.weight_decay) == (384, 5e-6, 5e-6, 1e-8)
    assert (tuned.warmup_epochs, tuned.cooldown_epochs, tuned.lr_batch) == (0, 0, 512)
    assert (tuned.model, tuned.drop_path, tuned.crop_pct, tuned.batch_size) == (name, drop_path, crop_pct, 64)


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('lr = 2\nmodel = "lvvit_m"\nmixtoken = false\n')
    settings, only_evaluate = TrainSettings.from_arguments(
        ["--config", str(tmp_path / "mine.toml"), "--model", "lvvit_l", "--evaluate"]
    )
    assert (settings.lr, settings.model, settings.mixtoken, only_evaluate) == (2.0, "lvvit_l", False, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_decy = 1.0", "has 'weight_decy', which is not a setting; did you mean 'weight_decay'?"),
        ("epochs = 1.5", "epochs must be of the type int, not 1.5"),
        ("epochs = 0", "epochs must be from 1 to 1e+09, not 0"),
        ("lr = nan", "lr must be from 0 to 1e+09, not nan"),
        ("ema_decay = 2", "ema_decay must be from 0 to 1, not 2.0"),
        ("seed = -1", "seed must be from 0 to 1e+09, not -1"),
        ("token_share = -1", "token_share must be from 0 to 1e+09, not -1"),
        ('amp = "float16"', "amp must be one of bfloat16, float32, not 'float16'"),
        ("lr =", "is not valid TOML"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(SystemExit):
        TrainSettings.from_arguments(["--config", str(tmp_path / "wrong.toml")])
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        TrainSettings.from_arguments(["--config", "nowhere.toml"])
    assert "there is no settings file 'nowhere.toml'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        TrainSettings.from_arguments(["--config", "."])
    assert "there is no settings file '.'" in capsys.readouterr().err
