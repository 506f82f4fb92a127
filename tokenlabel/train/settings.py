"""Which settings does a training use? Those of the command line; else those of a TOML file; else their defaults.

The defaults are those of LV-ViT-S at 224 pixels (arXiv 2104.10858); each file in tokenlabel/configs/ has the settings
that differ for another model or size.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Self

from tokenlabel.train.options import add_options, check, option, read_file

_MANY = 1e9
_RANGES = (
    (("epochs", "batch_size", "lr_batch"), 1, _MANY),
    (("cooldown_epochs", "warmup_epochs", "frozen_epochs", "workers", "seed"), 0, _MANY),
    (("lr", "min_lr", "warmup_lr", "base_rate", "weight_decay", "clip_grad"), 0, _MANY),
    (("token_weight", "token_share", "keep_weight", "teacher_weight", "teacher_token_weight"), 0, _MANY),
    (("hflip", "reprob", "smoothing", "ema_decay", "drop_path"), 0, 1),
    (("scale_min", "crop_pct"), 0.01, 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """The settings of a training. Each is an option of `python -m tokenlabel.train`, and a key of its files."""

    data: str = option("", "folder of training pictures, with a folder for each class, as it was labelled")
    labels: str = option("", "label store of the training pictures")
    val: str = option("", "folder of pictures to evaluate on, with a folder for each class; empty for no evaluation")
    output: str = option("", "folder for checkpoints and log.csv; a training that is found there is resumed")

    model: str = option("lvvit_s", "timm's name of a student, or of any network with a map or patch tokens")
    img_size: str = option("224", "height and width of the input, pixels: 224, or 224x320", number=True)
    initial: str = option("", "file of weights to start from; positions are resampled to the input size")
    drop_path: float = option(0.1, "probability that stochastic depth skips the last block")
    grad_checkpointing: bool = option(False, "recompute blocks in the backward pass, to save memory")

    epochs: int = option(300, "passes over the pictures while the learning rate falls")
    cooldown_epochs: int = option(10, "passes after these, at the lowest learning rate")
    batch_size: int = option(128, "pictures of each process at each step")
    lr: float = option(1.6e-3, "peak learning rate at `lr_batch`; scaled linearly with the actual batch")
    lr_batch: int = option(1024, "reference total batch size for the learning rates")
    min_lr: float = option(1e-5, "learning rate at the end, scaled in the same way")
    warmup_lr: float = option(1e-6, "learning rate at the beginning, scaled in the same way")
    warmup_epochs: int = option(5, "passes while the learning rate rises")
    base_rate: float = option(1.0, "factor of the learning rate for all weights but those a student adds to its base")
    frozen_epochs: int = option(0, "passes while these weights are left as they are")
    weight_decay: float = option(0.05, "weight decay of AdamW; not for biases, norms, positions and class token")
    clip_grad: float = option(0.0, "largest norm of the gradient; 0 for no limit")
    ema_decay: float = option(0.99992, "decay of the weights' moving average; 0 for no average")
    amp: str = option("bfloat16", "number type of autocast: bfloat16 or float32")

    picture: str = option("annotator", "target of a whole crop: annotator for the annotator's label, or class")
    token_weight: float = option(0.5, "weight of the tokens in the loss, the paper's beta")
    token_share: float = option(0.5, "part of the best token's logits in the answer; 0 for the picture's head alone")
    keep_weight: float = option(2.0, "weight of keeping the named fraction, of a student that drops tokens")
    teacher: str = option("", "file of weights of the un-pruned student, for one that drops tokens to imitate")
    teacher_weight: float = option(0.5, "weight of the teacher's answers for pictures")
    teacher_token_weight: float = option(0.5, "weight of the teacher's answers for tokens that are kept")
    smoothing: float = option(0.1, "label smoothing, a fraction")
    mixtoken: bool = option(True, "swap tokens between pictures of a batch (MixToken)")

    scale_min: float = option(0.08, "smallest area of a crop, as a fraction of the picture's")
    hflip: float = option(0.5, "probability of mirroring")
    # In timm 1.0.31, "inc1" without "mmax9" asks for more than the whole range of some changes, and sometimes fails.
    auto_augment: str = option("rand-m9-mstd0.5-mmax9-inc1", "timm's name of a policy; empty for none")
    reprob: float = option(0.25, "probability of random erasing")
    crop_pct: float = option(0.9, "side of the centre crop that evaluation uses, as a fraction of the picture's")

    seed: int = option(0, "random seed")
    workers: int = option(8, "processes that read pictures, for each process that trains")
    device: str = option("", "a device of torch: cuda, mps, xpu, cpu; empty for the accelerator if there is one")

    def __post_init__(self) -> None:
        """Check the range of each setting.

        Raises:
            ValueError: naming the setting.
        """
        # An int where a file or an older checkpoint has one.
        object.__setattr__(self, "img_size", str(self.img_size))
        if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})?", self.img_size):
            raise ValueError(
                f"img_size must be pixels, such as 224, or 224x320 for height and width, not {self.img_size!r}"
            )
        check(self, {"amp": ("bfloat16", "float32"), "picture": ("annotator", "class")}, _RANGES)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        height, _, width = self.img_size.partition("x")
        return int(height), int(width or height)

    @classmethod
    def from_arguments(cls, arguments: Sequence[str] | None = None) -> tuple[Self, bool]:
        """The settings of a command line, and whether only to evaluate. Wrong settings end the program.

        Args:
            arguments: words; those of this process by default.
        """
        parser = argparse.ArgumentParser(
            prog="python -m tokenlabel.train",
            description="Train a student on a folder of pictures and the labels that `annotate run` wrote for it. "
            "For several GPUs, start it with torchrun.",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        files = resources.files("tokenlabel.configs").iterdir()
        shipped = sorted(file.name for file in files if file.name.endswith(".toml"))
        parser.add_argument("--config", help=f"TOML file of settings; these come with tokenlabel: {', '.join(shipped)}")
        parser.add_argument(
            "--evaluate", action="store_true", help="do not train; evaluate the last.pt in --output, or --initial"
        )
        add_options(parser, cls)
        given = vars(parser.parse_args(arguments))
        config, evaluate = given.pop("config"), given.pop("evaluate")
        try:
            settings = cls(**{**(cls._of_file(config) if config else {}), **given})
        except ValueError as error:
            parser.error(str(error))
        return settings, evaluate

    @classmethod
    def _of_file(cls, config: str) -> dict[str, Any]:
        path = Path(config) if Path(config).exists() else resources.files("tokenlabel.configs") / config
        try:
            return read_file(path, cls, config)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ValueError(
                f"there is no settings file {config!r}, here or among those of tokenlabel; --help lists them"
            ) from None

    @classmethod
    def text(cls, name: str) -> str:
        """What a setting means."""
        return str(next(setting.metadata["text"] for setting in fields(cls) if setting.name == name))

    def differences(self, other: dict[str, Any]) -> list[str]:
        """A phrase for each setting that decides what is learnt and differs from another training's `asdict`."""
        unrelated = (
            "data",
            "labels",
            "val",
            "output",
            "initial",
            "teacher",
            "workers",
            "device",
        )  # where files are and what does the work: it does not change what is learnt
        mine = asdict(self)
        return [
            f"{name} {other[name]!r}, not {mine[name]!r}"
            for name in mine
            if name not in unrelated and name in other and type(mine[name])(other[name]) != mine[name]
        ]
