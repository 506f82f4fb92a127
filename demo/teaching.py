"""What is a student taught about a picture? Teachings differ in targets alone: crops, order and steps are equal.

`TEACHINGS` has those of `make study`. Where a token is taught, the loss is the paper's, with β = ½.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import default_loader
from tqdm import tqdm

from demo.students import CLASSES, SIZE, STUDENTS, TOKENS
from storage import LabelMap
from tokenlabel import (
    BLENDED,
    Crops,
    LabeledImages,
    Mix,
    Mixer,
    Paper,
    TokenTargets,
    View,
    collate,
    folder_keys,
    random_view,
    token_label_loss,
    token_targets,
    whole_view,
)
from tokenlabel.losses.class_label import SoftLabel
from tokenlabel.models import combined_logits
from tokenlabel.models.student import OwnLoss
from tokenlabel.targets.rule import Rule

EPOCHS, BATCH, LEARNING_RATE = 8, 64, 1e-3  # at 3e-3 some seeds of the class-label student learn nothing


class Pace(NamedTuple):
    """How fast a student learns.

    rate:   the peak of the learning rate
    warmup: part of the steps while it rises; 0 to begin at the peak
    clip:   the largest norm of the gradient; infinity for no limit
    """

    rate: float = LEARNING_RATE
    warmup: float = 0.2
    clip: float = 1.0


PACE = Pace()


class WholePicture:
    """Distillation without maps: whatever a crop shows, its target is the label of its whole picture."""

    default_keep, reads_logits = CLASSES, False

    def targets(
        self, labels: LabelMap, views: Sequence[object], tokens: tuple[int, int], *, class_count: int, keep: int
    ) -> TokenTargets:
        """The targets of whole pictures."""
        return token_targets(labels, [View.whole()] * len(views), tokens, keep=min(keep, class_count))


@dataclass(frozen=True, slots=True)
class Teaching:
    """What is taught.

    rule:         how labels of a picture become targets of a crop; see `LabeledImages`
    picture:      what the whole crop is taught: its "class", or the "annotator"'s label
    token_weight: the paper's β; 0 leaves tokens untaught
    mixtoken:     whether pictures of a batch swap tokens
    """

    rule: Rule = BLENDED
    picture: Literal["class", "annotator"] = "annotator"
    token_weight: float = 0.5
    mixtoken: bool = False


TEACHINGS = {
    "class labels": Teaching(picture="class", token_weight=0),
    "whole-picture distillation": Teaching(WholePicture(), token_weight=0),
    "the paper's rule, axes swapped": Teaching(Paper(axes="swapped", geometry="center")),
    "the paper's rule, axes right": Teaching(Paper(geometry="center")),
    "the paper's rule, geometry right too": Teaching(Paper()),
    "ours": Teaching(),
    "ours with MixToken": Teaching(mixtoken=True),
    "ours, pictures taught their class": Teaching(picture="class"),
}
PAIR = {"class labels": "class labels", "class and token labels": "ours, pictures taught their class"}  # of `make demo`


def train(
    images: Path,
    store: Path,
    teaching: Teaching,
    seed: int,
    *,
    student: str | Callable[[], Any] = "LV-ViT",
    epochs: int = EPOCHS,
    pace: Pace = PACE,
    teacher: torch.nn.Module | None = None,
    bar: str | None = None,
    line: int = 0,
) -> Any:
    """One student, trained on one CPU thread.

    Args:
        images: the folder of the train split.
        store: its labels.
        teaching: which targets it gets.
        seed: decides the first weights, and the order and the crops of pictures.
        student: one of STUDENTS, or a function that makes another with as many tokens.
        epochs: passes over the pictures.
        pace: its learning rates.
        teacher: of a student that learns from one; see `tokenlabel.models.student.OwnLoss`.
        bar: the name on a progress bar; None for no bar.
        line: the bar's line on the terminal.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    make = STUDENTS[student] if isinstance(student, str) else student
    model = make().to(memory_format=torch.channels_last)
    pictures = ImageFolder(images, loader=_decoded)
    # Not mirrored: a mirrored digit is not a digit.
    data = LabeledImages(
        pictures,
        store,
        keys=folder_keys(pictures),
        augment=Crops(SIZE, partial(random_view, scale=(0.5, 1.0), mirror=0.0)),
        tokens=TOKENS,
        class_count=CLASSES,
        rule=teaching.rule,
        seed=seed,
    )
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(data, BATCH, shuffle=True, drop_last=True, collate_fn=collate, generator=order)
    mixer = Mixer(TOKENS, CLASSES, mixup=0, cutmix=0, mixtoken=1.0, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, pace.rate, total_steps=steps, pct_start=pace.warmup)
    with tqdm(total=steps, desc=bar, unit=" steps", position=line, leave=False, disable=None if bar else True) as shown:
        for epoch in range(epochs):
            data.set_epoch(epoch)
            for index, (pixels, targets, classes) in enumerate(loader):
                mix, label = None, classes
                if teaching.mixtoken:
                    mix = mixer.draw(len(pixels), SIZE, epoch=epoch, index=index)
                    targets, label = mix.targets(targets, class_count=CLASSES), mix.label(label)
                own = label if teaching.picture == "class" else None
                loss = loss_of(model, pixels, mix, targets, own, token_weight=teaching.token_weight, teacher=teacher)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), pace.clip)
                optimizer.step()
                schedule.step()
                shown.update()
    return model.eval()


def loss_of(
    model: Any,
    pixels: torch.Tensor,
    mix: Mix | None,
    targets: TokenTargets,
    label: torch.Tensor | SoftLabel | None,
    *,
    token_weight: float,
    teacher: torch.nn.Module | None = None,
) -> torch.Tensor:
    """A student's loss: its own if it has one, with labels of the store and not of the teacher for its tokens."""
    if isinstance(model, OwnLoss):
        weights = {"token_weight": token_weight, "teacher_token_weight": 0.0}
        return model.own_loss(pixels, mix, targets, label=label, teacher=teacher, **weights)
    return token_label_loss(*model.logits(pixels, mix), targets, label=label, token_weight=token_weight)


@cache
def _decoded(path: str) -> Image.Image:
    """A picture, decoded once for all epochs and students of a process."""
    return default_loader(path)


def whole_pictures(images: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The pixels [n, 3, H, W] of all pictures of a split, uncut, and their classes [n]."""
    folder, whole, rng = ImageFolder(images), Crops(SIZE, whole_view), np.random.default_rng(0)
    return torch.stack([whole(picture.convert("RGB"), rng)[0] for picture, _ in folder]), torch.tensor(folder.targets)


@torch.inference_mode()
def accuracy(model: Any, pixels: torch.Tensor, classes: torch.Tensor) -> tuple[float, float]:
    """Top-1 accuracy in [0, 1]: by the class head, and with half of the best token's logits added, as in LV-ViT."""
    of_class, of_both = 0, 0
    for some, right in zip(pixels.split(250), classes.split(250), strict=True):
        picture, tokens = model.logits(some)
        of_class += int((picture.argmax(1) == right).sum())
        of_both += int((combined_logits(picture, tokens).argmax(1) == right).sum())
    return of_class / len(classes), of_both / len(classes)


def train_pair(out: Path, epochs: int = EPOCHS) -> dict[str, float]:
    """The accuracy on val of the two students of `make demo`, which are trained in parallel.

    Args:
        out: the folder of the demo, with pictures and labels.
        epochs: passes over the pictures.
    """
    # Here, because a new process cannot take a function from demo/__main__.py.
    with ProcessPoolExecutor(len(PAIR), mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(_taught, out, epochs), PAIR, range(len(PAIR)))
        return dict(zip(PAIR, found, strict=True))


def _taught(out: Path, epochs: int, name: str, line: int) -> float:
    stores = out / "labels-train.zarr"
    model = train(out / "images/train", stores, TEACHINGS[PAIR[name]], 0, epochs=epochs, bar=name, line=line)
    return accuracy(model, *whole_pictures(out / "images/val"))[0]
