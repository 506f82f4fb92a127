"""How does a network of your own label pictures? `annotate run photos labels.zarr --model own_segmenter:make`"""

from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path("segmenter.pt")  # your own state_dict


class Segmenter(nn.Module):
    """A network that answers in cells of 16x16 pixels."""

    class_names = ("sky", "ground", "water")
    input_size = (128, 192)  # height and width, pixels
    gives = "logits"
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 16, 16, stride=16), nn.ReLU(), nn.Conv2d(16, 3, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits [b, h, w, classes] for normalised pixels [b, 3, H, W]."""
        return self.network(pixels).permute(0, 2, 3, 1)


def make() -> Segmenter:
    """Called once in each worker."""
    segmenter = Segmenter()
    if WEIGHTS.exists():
        segmenter.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return segmenter
