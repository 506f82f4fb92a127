"""How accurate is a model? The fraction of pictures whose class it names, counted by all processes together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from timm.data import create_transform
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from tokenlabel.errors import LabelError
from tokenlabel.train.checkpoint import LAST, read_checkpoint
from tokenlabel.train.process_group import ProcessGroup
from tokenlabel.train.settings import TrainSettings
from tokenlabel.train.student import student


class Accuracy(NamedTuple):
    """The fraction of pictures whose class is the likeliest, and of those where it is among the five likeliest."""

    top1: float
    top5: float


def evaluator(
    settings: TrainSettings, group: ProcessGroup, classes: Sequence[str] | None
) -> Callable[[nn.Module], Accuracy] | None:
    """A function that gives a model's accuracy on the pictures of `val`; None if `val` is empty.

    Args:
        settings: settings of the training.
        group: the processes that share the work.
        classes: class names of the training pictures; None if they are unknown.

    Raises:
        LabelError: the pictures of `val` have other classes.
    """
    return _evaluator(settings, group, classes) if settings.val else None


def _evaluator(
    settings: TrainSettings, group: ProcessGroup, classes: Sequence[str] | None
) -> Callable[[nn.Module], Accuracy]:
    transform = create_transform(settings.size, crop_pct=settings.crop_pct, interpolation="bicubic")
    images = ImageFolder(settings.val, transform)
    if classes is not None and images.classes != list(classes):
        raise LabelError(
            f"{settings.val} has {len(images.classes)} class folders, and the student has {len(classes)} classes; "
            "give a folder with a folder for each of these, so that a class number means the same in both"
        )
    own = Subset(images, range(group.rank, len(images), group.processes))
    loader = DataLoader(own, settings.batch_size, num_workers=settings.workers)

    @torch.inference_mode()
    def evaluate(model: nn.Module) -> Accuracy:
        model.eval()
        right = torch.zeros(2, device=group.device, dtype=torch.int64)  # mps has no float64
        for pixels, label in tqdm(loader, desc="evaluation", leave=False, disable=True if group.rank else None):
            with torch.autocast(group.device.type, torch.bfloat16, enabled=settings.amp == "bfloat16"):
                logits = model(pixels.to(group.device, memory_format=torch.channels_last))
            hits = logits.topk(min(5, logits.shape[1])).indices == label.to(group.device)[:, None]
            right += torch.stack([hits[:, 0].sum(), hits.any(1).sum()])
        return Accuracy(*(hits / len(images) for hits in group.summed(right).tolist()))

    return evaluate


def evaluate_once(settings: TrainSettings, group: ProcessGroup) -> None:
    """Print the accuracy of what was trained, or of the initial weights.

    Raises:
        LabelError: `val` is empty or has other classes; the weights do not exist.
    """
    if not settings.val:
        raise LabelError("nothing to evaluate on: give --val, a folder of class folders")
    classes = None
    if not settings.initial:
        last = Path(settings.output) / LAST
        state = read_checkpoint(last, "cpu")
        known = {name: state["settings"][name] for name in ("model", "img_size", "crop_pct", "token_share")}
        settings, classes = replace(settings, **known, initial=str(last)), state["classes"]
    evaluate = _evaluator(settings, group, classes)
    model = student(settings, len(classes or ImageFolder(settings.val).classes)).to(group.device)
    top1, top5 = evaluate(model)
    if group.rank == 0:
        print(f"top-1 {100 * top1:.2f} %, top-5 {100 * top5:.2f} %")  # noqa: T201 the answer
