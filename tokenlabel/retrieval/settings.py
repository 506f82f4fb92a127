"""Which settings does a training of descriptors use? Those of the command line; else of a TOML file; else defaults.

The defaults are those of IRT on Stanford Online Products (arXiv 2102.05644, DeiT-S at 224 pixels).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tokenlabel.train.options import add_options, check, option, read_file

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSettings:
    """The settings of a training. Each is an option of `python -m tokenlabel.retrieval`, and a key of its files."""

    data: str = option("", "folder of training pictures, with a folder for each class")
    val: str = option("", "folder of pictures to evaluate on, with a folder for each class; empty for no evaluation")
    labels: str = option("", "label store of the training pictures, for positives or pooling by labels")
    val_labels: str = option("", "label store of the pictures in --val, for pooling by labels")
    output: str = option("", "folder for last.pt and log.csv")

    model: str = option("deit_small_patch16_224", "timm's name of a network")
    pretrained: bool = option(False, "start from timm's pretrained weights, which are downloaded")
    initial: str = option("", "file of weights to start from")
    img_size: int = option(224, "height and width of the input, pixels")
    resize: int = option(256, "shorter side of pictures before they are cropped, pixels")
    pooling: str = option("token", "what describes a picture: token, mean, max or gem")
    label_pooling: bool = option(False, "weigh pooled tokens by the labels (our design)")
    pca: int = option(0, "evaluate after PCA whitening to so many dimensions too, fitted on --data; 0 for not")

    positives: str = option("class", "who belongs together: class (of folders), argmax or overlap (of labels)")
    threshold: float = option(0.5, "the overlap of labels from which on pictures belong together")
    margin: float = option(0.5, "the cosine below which a negative pair costs nothing, the paper's beta")
    koleo: float = option(0.7, "weight of KoLeo, the paper's lambda")
    memory: float = option(1.0, "entries of the cross-batch memory, as a fraction of the pictures; 0 for none")
    memory_after: int = option(0, "steps before the memory is filled; a new network, not pretrained, needs some")
    momentum: float = option(0.0, "decay of the averaged encoder that makes the memory's entries; 0 for none")

    steps: int = option(35_000, "batches")
    classes: int = option(16, "classes of a batch")
    each: int = option(4, "pictures of each class in a batch")
    lr: float = option(3e-5, "learning rate of AdamW")
    weight_decay: float = option(5e-4, "weight decay of AdamW")
    hflip: float = option(0.5, "probability of mirroring")
    amp: str = option("bfloat16", "number type of autocast: bfloat16 or float32")
    evaluate_every: int = option(1000, "steps between lines of log.csv, evaluations and checkpoints")

    seed: int = option(0, "random seed")
    workers: int = option(8, "processes that read pictures")
    device: str = option("", "a device of torch; empty for the accelerator if there is one")

    def __post_init__(self) -> None:
        """Check each setting, and those that go together.

        Raises:
            ValueError: naming the setting.
        """
        check(self, _CHOICES, _RANGES)
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
        add_options(parser, cls)
        given = vars(parser.parse_args(arguments))
        config, evaluate = given.pop("config"), given.pop("evaluate")
        try:
            return cls(**{**(read_file(Path(config), cls, config) if config else {}), **given}), evaluate
        except (OSError, ValueError) as error:
            parser.error(str(error))
