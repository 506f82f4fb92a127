"""Which settings does a training of descriptors use? Those of the command line; else of a TOML file; else defaults.

The defaults are those of IRT on Stanford Online Products (arXiv 2102.05644, DeiT-S at 224 pixels).
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

_MANY = 1e9
_CHOICES = {
    "pooling": ("token", "mean", "max", "gem"),
    "positives": ("class", "argmax", "overlap"),
    "amp": ("bfloat16", "float32"),
}
_RANGES: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("img_size", "resize", "steps", "evaluate_every"), 1, _MANY),
    (("classes", "each"), 2, _MANY),
    (("koleo", "memory", "memory_after", "lr", "weight_decay", "pca", "seed", "workers"), 0, _MANY),
    (("momentum", "hflip", "threshold"), 0, 1),
    (("margin",), -1, 1),
)


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"text": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSettings:
    """The settings of a training. Each is an option of `python -m tokenlabel.retrieval`, and a key of its files."""

    data: str = _option("", "folder of training pictures, with a folder for each class")
    val: str = _option("", "folder of pictures to evaluate on, with a folder for each class; empty for no evaluation")
    labels: str = _option("", "label store of the training pictures, for positives or pooling by labels")
    val_labels: str = _option("", "label store of the pictures in --val, for pooling by labels")
    output: str = _option("", "folder for last.pt and log.csv")

    model: str = _option("deit_small_patch16_224", "timm's name of a network")
    pretrained: bool = _option(False, "start from timm's pretrained weights, which are downloaded")
    initial: str = _option("", "file of weights to start from")
    img_size: int = _option(224, "height and width of the input, pixels")
    resize: int = _option(256, "shorter side of pictures before they are cropped, pixels")
    pooling: str = _option("token", "what describes a picture: token, mean, max or gem")
    label_pooling: bool = _option(False, "weigh pooled tokens by the labels (our design)")
    pca: int = _option(0, "evaluate after PCA whitening to so many dimensions too, fitted on --data; 0 for not")

    positives: str = _option("class", "who belongs together: class (of folders), argmax or overlap (of labels)")
    threshold: float = _option(0.5, "the overlap of labels from which on pictures belong together")
    margin: float = _option(0.5, "the cosine below which a negative pair costs nothing, the paper's beta")
    koleo: float = _option(0.7, "weight of KoLeo, the paper's lambda")
    memory: float = _option(1.0, "entries of the cross-batch memory, as a fraction of the pictures; 0 for none")
    memory_after: int = _option(0, "steps before the memory is filled; a new network, not pretrained, needs some")
    momentum: float = _option(0.0, "decay of the averaged encoder that makes the memory's entries; 0 for none")

    steps: int = _option(35_000, "batches")
    classes: int = _option(16, "classes of a batch")
    each: int = _option(4, "pictures of each class in a batch")
    lr: float = _option(3e-5, "learning rate of AdamW")
    weight_decay: float = _option(5e-4, "weight decay of AdamW")
    hflip: float = _option(0.5, "probability of mirroring")
    amp: str = _option("bfloat16", "number type of autocast: bfloat16 or float32")
    evaluate_every: int = _option(1000, "steps between lines of log.csv, evaluations and checkpoints")

    seed: int = _option(0, "random seed")
    workers: int = _option(8, "processes that read pictures")
    device: str = _option("", "a device of torch; empty for the accelerator if there is one")

    def __post_init__(self) -> None:
        """Check each setting, and those that go together.

        Raises:
            ValueError: naming the setting.
        """
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for names, least, most in _RANGES:
            for name in names:
                if not least <= getattr(self, name) <= most:
                    raise ValueError(f"{name} must be from {least:g} to {most:g}, not {getattr(self, name)}")
        if self.resize < self.img_size:
            raise ValueError(f"resize must be at least img_size, {self.img_size}, not {self.resize}")
        if self.label_pooling and self.pooling not in ("mean", "gem"):
            raise ValueError(f"label_pooling weighs tokens of pooling mean or gem, not {self.pooling}")

    @classmethod
    def from_arguments(cls, arguments: Sequence[str] | None = None) -> tuple[Self, bool]:
        """The settings of a command line, and whether only to evaluate. Wrong settings end the program.

        Args:
            arguments: words; those of this process by default.
        """
        parser = argparse.ArgumentParser(
            prog="python -m tokenlabel.retrieval",
            description="Train descriptors that find pictures of the same class, or evaluate them: docs/retrieval.md.",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        parser.add_argument("--config", help="TOML file of settings")
        parser.add_argument(
            "--evaluate", action="store_true", help="do not train; evaluate the last.pt in --output, or else --initial"
        )
        for setting in fields(cls):
            action: dict[str, Any] = {"type": type(setting.default)}
            if isinstance(setting.default, bool):
                action = {"action": argparse.BooleanOptionalAction}
            name = "--" + setting.name.replace("_", "-")
            parser.add_argument(name, help=setting.metadata["text"], default=argparse.SUPPRESS, **action)
        given = vars(parser.parse_args(arguments))
        config, evaluate = given.pop("config"), given.pop("evaluate")
        try:
            return cls(**{**(_of_file(config) if config else {}), **given}), evaluate
        except (OSError, ValueError) as error:  # a TOML file that cannot be parsed is a ValueError
            parser.error(str(error))


def _of_file(config: str) -> dict[str, Any]:
    """The settings in a TOML file, of their own types."""
    types = {setting.name: type(setting.default) for setting in fields(RetrievalSettings)}
    values = tomllib.loads(Path(config).read_text())
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"{config} has {name!r}, which is not a setting; --help lists all settings")
        if types[name] is float and type(value) is int:
            values[name] = float(value)
        elif type(value) is not types[name]:
            raise ValueError(f"{config}: {name} must be of the type {types[name].__name__}, not {value!r}")
    return values
