"""Does a training ask its device for nothing that only some have?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tokenlabel.train.evaluation import evaluator
from tokenlabel.train.process_group import ProcessGroup
from tokenlabel.train.settings import TrainSettings
from tokenlabel.train.trainer import Trainer


class WithoutFloat64(TorchDispatchMode):
    """As on Apple's GPUs and some of Intel's, which hold no float64."""

    def __torch_dispatch__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = function(*args, **(kwargs or {}))
        for one in given if isinstance(given, tuple | list) else [given]:
            if isinstance(one, torch.Tensor) and one.dtype == torch.float64:
                raise TypeError(f"{function} made a tensor of float64")
        return given


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("model", ["lvvit_t", "dynamicvit_lvvit_s_07", "t2t_vit_7", "vt_resnet18", "test_vit"])
def test_a_training_and_its_evaluation_need_no_float64(model: str, small_demo: Path, tmp_path: Path) -> None:
    out = small_demo / "demo/out"
    values = {
        "model": model, "data": out / "images/val", "labels": out / "labels-val.zarr", "val": out / "images/val",
        "output": tmp_path / "run", "img-size": 32, "batch-size": 15, "amp": "float32", "epochs": 1, "device": "cpu",
        "cooldown-epochs": 0, "warmup-epochs": 0, "workers": 0, "clip-grad": 1,
    }  # fmt: skip
    settings, _ = TrainSettings.from_arguments([w for name, value in values.items() for w in (f"--{name}", str(value))])
    group = ProcessGroup.here("cpu")
    trainer = Trainer(settings, group)  # networks are made on the CPU
    with WithoutFloat64():
        trainer.run(evaluator(settings, group, trainer.images.classes))
    assert (tmp_path / "run/log.csv").exists()
