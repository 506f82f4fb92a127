"""Is the moving average of a short training that of its weights, and not of those that it began with?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tokenlabel.errors import LabelError
from tokenlabel.train.__main__ import main
from tokenlabel.train.process_group import ProcessGroup


@pytest.mark.usefixtures("single_threaded")
def test_the_first_weights_have_left_a_short_trainings_average(small_demo: Path, tmp_path: Path) -> None:
    out = small_demo / "demo/out"
    values = {
        "config": "lvvit_t.toml", "data": out / "images/train", "labels": out / "labels-train.zarr",
        "output": tmp_path / "run", "img-size": 32, "batch-size": 30, "amp": "float32", "epochs": 1,
        "cooldown-epochs": 0, "warmup-epochs": 0, "workers": 0, "ema-decay": 0.99996, "lr": 0.01, "device": "cpu",
    }  # fmt: skip
    main([word for name, value in values.items() for word in (f"--{name}", str(value))])
    saved = torch.load(tmp_path / "run/last.pt", weights_only=True)
    # A bias begins at 0, and would be at 0.02 % of where it went.
    last, average = (saved[part]["head.bias"].abs().sum() for part in ("state_dict", "state_dict_ema"))
    assert average > 0.3 * last


def test_a_device_that_torch_does_not_find_is_an_error_with_what_there_is() -> None:
    with pytest.raises(LabelError, match="--device nonsense cannot be used: torch finds"):
        ProcessGroup.here("nonsense")
    with pytest.raises(SystemExit, match="error: --device nonsense cannot be used"):
        main(["--device", "nonsense"])
    assert ProcessGroup.here("cpu").device == torch.device("cpu")
