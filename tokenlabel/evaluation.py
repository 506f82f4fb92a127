"""How many pictures of a folder does a model name? All processes share the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from timm.data import create_transform
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from tokenlabel.errors import LabelError
from tokenlabel.place import Place
from tokenlabel.train_settings import TrainSettings


class Accuracy(NamedTuple):
    """The part of pictures whose class is the likeliest, and among the five likeliest."""

    top1: float
    top5: float


def evaluator(
    settings: TrainSettings, place: Place, classes: Sequence[str] | None
) -> Callable[[nn.Module], Accuracy] | None:
    """What tells a model's accuracy on the pictures of `val`; None where there are none.

    Args:
        settings: of the training.
        place: of this process.
        classes: of the training pictures; None where they are not known.

    Raises:
        LabelError: they have other classes.
    """
    if not settings.val:
        return None
    look = create_transform(settings.img_size, crop_pct=settings.crop_pct, interpolation="bicubic")
    images = ImageFolder(settings.val, look)
    if classes is not None and images.classes != list(classes):
        raise LabelError(
            f"{settings.val} has {len(images.classes)} class folders, and the training pictures have {len(classes)}; "
            "they must be the same, or a class number would not mean the same in both"
        )
    own = Subset(images, range(place.rank, len(images), place.processes))
    loader = DataLoader(own, settings.batch_size, num_workers=settings.workers)

    @torch.inference_mode()
    def evaluate(model: nn.Module) -> Accuracy:
        model.eval()
        right = torch.zeros(2, device=place.device, dtype=torch.float64)
        for pixels, label in tqdm(loader, desc="evaluation", leave=False, disable=True if place.rank else None):
            with torch.autocast(place.device.type, torch.bfloat16, enabled=settings.amp == "bfloat16"):
                logits = model(pixels.to(place.device, memory_format=torch.channels_last))
            hits = logits.topk(min(5, logits.shape[1])).indices == label.to(place.device)[:, None]
            right += torch.stack([hits[:, 0].sum(), hits.any(1).sum()])
        top1, top5 = (place.summed(right) / len(images)).tolist()
        return Accuracy(top1, top5)

    return evaluate
