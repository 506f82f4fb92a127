"""How is a student trained on a store? `python -m tokenlabel.train --config lvvit_s.toml`: a loop to read and change.

    python -m tokenlabel.train --config lvvit_s.toml --data imagenet/train --labels labels.zarr --val imagenet/val \
        --output runs/lvvit_s                                              # one process
    torchrun --nproc-per-node 8 -m tokenlabel.train …                      # eight GPUs
    python -m tokenlabel.train … --evaluate                                # accuracy of what was trained

All randomness is a pure function of (seed, epoch, index or process), so that a training that was interrupted and
started again by the same command takes the same steps as one that was not.

    OUTPUT/last.pt     after each epoch: weights, their average, optimizer, epoch and settings
    OUTPUT/best.pt     the same of the epoch with the best accuracy on --val
    OUTPUT/log.csv     a line for each epoch
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm import scheduler, utils
from timm.data import create_transform
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from storage import open_store
from tokenlabel.dataset import LabeledImages, collate, folder_keys
from tokenlabel.errors import LabelError
from tokenlabel.losses.class_label import smooth_label
from tokenlabel.mixing.mixer import Mixer
from tokenlabel.pipelines.traced import Traced
from tokenlabel.train.checkpoint import BEST, LAST, read_checkpoint, remove_unfinished, write_checkpoint, write_log
from tokenlabel.train.evaluation import Accuracy
from tokenlabel.train.lesson import Lesson
from tokenlabel.train.process_group import ProcessGroup
from tokenlabel.train.rates import make_optimizer, set_base_rate
from tokenlabel.train.settings import TrainSettings
from tokenlabel.train.student import student

_log = logging.getLogger(__name__)
_LOSS_EVERY = 50  # steps between readings of the loss: each has to wait for the GPU


class Trainer:
    """A training: its state, and its next steps.

    Args:
        settings: all of them.
        group: the processes that train together.

    Raises:
        LabelError: settings, pictures and labels do not fit each other, or the output folder has other settings.
    """

    def __init__(self, settings: TrainSettings, group: ProcessGroup) -> None:
        self.settings, self.group = settings, group
        self.images = ImageFolder(settings.data)
        self.store = open_store(settings.labels)
        self.classes = self.store.schema.class_count
        # Other classes than the annotator's can teach nothing here; where only its labels teach, they need not.
        own = len(self.images.classes) == self.classes
        if not own and settings.picture == "class":
            raise LabelError(
                f"{settings.data} has {len(self.images.classes)} class folders, and the labels in {settings.labels} "
                f"are of {self.classes} classes: the pictures' own cannot teach; give --picture annotator"
            )
        self.class_names = (
            self.images.classes if own else [*(self.store.schema.class_names or map(str, range(self.classes)))]
        )
        if not own and group.rank == 0:
            _log.warning(
                "%s has %d class folders, and the labels are of %d classes: the annotator's labels alone teach",
                settings.data, len(self.images.classes), self.classes,
            )  # fmt: skip
        self.output = Path(settings.output)
        self.output.mkdir(parents=True, exist_ok=True)
        last = self.output / LAST
        first = replace(settings, initial="") if last.exists() else settings
        self.model = student(first, self.classes, new_heads=True).to(group.device, memory_format=torch.channels_last)
        grid = self.model.token_grid
        self.data = LabeledImages(
            self.images,
            self.store,
            augment=Traced(_augmentation(settings)),
            tokens=grid,
            class_count=self.classes,
            own_classes=own,
            seed=settings.seed,
        )
        # Every process gets the same number of pictures at each step: the last few of an epoch are left out.
        self.sampler: DistributedSampler[Any] = DistributedSampler(
            self.data, group.processes, group.rank, seed=settings.seed, drop_last=True
        )
        self.loader = DataLoader(
            self.data,
            settings.batch_size,
            sampler=self.sampler,
            num_workers=settings.workers,
            collate_fn=collate,
            pin_memory=group.device.type == "cuda",
            drop_last=True,
            persistent_workers=settings.workers > 0,
            generator=torch.Generator(),  # otherwise it would sometimes use torch's own
        )
        if not len(self.loader):
            raise LabelError(
                f"{len(self.images)} pictures are too few for {group.processes} processes with {settings.batch_size} "
                "at each step; give a lower --batch-size"
            )
        mixed, seed = float(settings.mixtoken), settings.seed * group.processes + group.rank
        self.mixer = Mixer(grid, self.classes, mixup=0, cutmix=0, mixtoken=1.0, probability=mixed, seed=seed)
        rate = settings.batch_size * group.processes / settings.lr_batch
        self.optimizer = make_optimizer(settings, self.model, settings.lr * rate)
        self.schedule, self.epochs = scheduler.create_scheduler_v2(
            self.optimizer,
            num_epochs=settings.epochs,
            cooldown_epochs=settings.cooldown_epochs,
            warmup_epochs=settings.warmup_epochs,
            warmup_lr=settings.warmup_lr * rate,
            min_lr=settings.min_lr * rate,
        )
        self.average = None
        if settings.ema_decay:  # it warms up, so that a short training's average is not of the first weights
            self.average = utils.ModelEmaV3(self.model, decay=settings.ema_decay, use_warmup=True)
        self.lesson: nn.Module = Lesson(settings, self.model)
        if group.processes > 1:
            of_device = [group.device.index] if group.device.type == "cuda" else None
            self.lesson = DistributedDataParallel(self.lesson, device_ids=of_device)
        self.epoch, self.log = 0, list[dict[str, Any]]()
        # Shows whether pictures and labels are the same, even if folders were renamed.
        recipe = json.dumps(self.store.schema.to_json()["recipe"], sort_keys=True)
        self.data_fingerprint = hashlib.sha256("\n".join([recipe, *folder_keys(self.images)]).encode()).hexdigest()
        if last.exists():
            self._resume(last)

    def run(self, evaluate: Callable[[nn.Module], Accuracy] | None) -> None:
        """All epochs that are left; each is saved when it ends.

        Args:
            evaluate: gives the accuracy of a model; None if there is nothing to evaluate on.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        for epoch in range(self.epoch, self.epochs):
            self.epoch = epoch
            started = time.monotonic()
            set_base_rate(self.optimizer, self.settings, self.epoch)
            self.schedule.step(self.epoch)
            line: dict[str, Any] = {"epoch": self.epoch, "lr": self.optimizer.param_groups[0]["lr"]}
            line["loss"] = self._train_one_epoch()
            line["seconds"] = round(time.monotonic() - started, 1)
            line["pictures_per_second"] = round(
                len(self.loader) * self.settings.batch_size * self.group.processes / max(line["seconds"], 1e-9), 1
            )
            averages = [] if self.average is None else [self.average.module]
            for model in (self.model, *averages) if self.group.processes > 1 else ():
                utils.distribute_bn(model, self.group.processes, reduce=True)  # each process has seen other pictures
            if evaluate is not None:
                line["top1"], line["top5"] = evaluate(self.model)
                for model in averages:
                    line["average_top1"], line["average_top5"] = evaluate(model)
            if self.group.rank == 0:
                self._save(line)
        if self.group.rank == 0:
            tqdm.write(f"{self.output}: all {self.epochs} epochs are done")

    def _train_one_epoch(self) -> float:
        """One pass over the pictures; the mean of its losses."""
        settings, group, device = self.settings, self.group, self.group.device
        self.data.set_epoch(self.epoch)
        self.sampler.set_epoch(self.epoch)
        # Stochastic depth uses torch's own generator: seeded for each epoch, its state need not be saved.
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, self.epoch, group.rank]).generate_state(1)[0]))
        self.lesson.train()
        losses = list[torch.Tensor]()
        name = f"epoch {self.epoch + 1} of {self.epochs}"
        with tqdm(self.loader, desc=name, unit=" steps", disable=True if group.rank else None) as bar:
            for index, (pixels, targets, classes) in enumerate(bar):
                pixels = pixels.to(device, non_blocking=True, memory_format=torch.channels_last)
                targets, classes = targets.to(device, non_blocking=True), classes.to(device, non_blocking=True)
                mix = self.mixer.draw(len(pixels), pixels.shape[-2:], epoch=self.epoch, index=index)
                targets = targets.smoothed(settings.smoothing, class_count=self.classes)
                label = None
                if settings.picture == "class":
                    label = smooth_label(mix.label(classes), settings.smoothing, class_count=self.classes)
                loss = self.lesson(pixels, mix, mix.targets(targets, class_count=self.classes), label)
                self.optimizer.zero_grad()
                loss.backward()
                if settings.clip_grad:
                    nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_grad)
                self.optimizer.step()
                if self.average is not None:
                    self.average.update(self.model, step=1 + self.epoch * len(self.loader) + index)
                losses.append(loss.detach())
                if index % _LOSS_EVERY == 0 or index + 1 == len(self.loader):
                    shown = loss.item()
                    if not np.isfinite(shown):
                        raise FloatingPointError(
                            f"the loss is {shown} at step {index} of epoch {self.epoch}; try a lower --lr or "
                            "--clip-grad 1, in another --output"
                            + (
                                f", and --initial {self.output}/last.pt to start from what was learnt"
                                if self.log
                                else ""
                            )
                        )
                    bar.set_postfix(loss=f"{shown:.3f}")
        return float(group.summed(torch.stack(losses).mean())) / group.processes

    def _save(self, line: dict[str, Any]) -> None:
        """Save an epoch: its checkpoint, and its line in the log."""
        before = max((_accuracy(earlier) for earlier in self.log), default=0.0)
        self.log.append(line)
        state = {
            "log": self.log,
            "settings": asdict(self.settings),
            "processes": self.group.processes,
            "classes": self.class_names,
            "data_fingerprint": self.data_fingerprint,
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            state["state_dict_ema"] = self.average.module.state_dict()
        write_checkpoint(self.output, [BEST] * (_accuracy(line) > before) + [LAST], state)
        write_log(self.output, self.log)
        tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in line.items()))

    def _resume(self, last: Path) -> None:
        """Continue a training after its last complete epoch."""
        state = read_checkpoint(last, self.group.device)
        differences = self.settings.differences(state["settings"])
        if state["processes"] != self.group.processes:
            differences.append(f"{state['processes']} processes, not {self.group.processes}")
        if state["data_fingerprint"] != self.data_fingerprint:
            differences.append("other pictures or other labels")
        if differences:
            raise LabelError(
                f"{self.output} has a training with {'; '.join(differences)}. Resume with the same settings, or give "
                "another --output"
            )
        self.model.load_state_dict(state["state_dict"])
        if self.average is not None:
            self.average.module.load_state_dict(state["state_dict_ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log = state["log"]
        self.epoch = len(self.log)
        if self.group.rank == 0:
            remove_unfinished(self.output)
            write_log(self.output, self.log)


def _augmentation(settings: TrainSettings) -> Any:
    try:
        return create_transform(
            settings.size,
            is_training=True,
            scale=(settings.scale_min, 1.0),
            hflip=settings.hflip,
            auto_augment=settings.auto_augment or None,
            interpolation="bicubic",
            re_prob=settings.reprob,
            re_mode="pixel",
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise LabelError(
            f"timm cannot make augmentations of auto_augment {settings.auto_augment!r}; give the name of one of its "
            "policies, such as rand-m9-mstd0.5-mmax9-inc1, or an empty one"
        ) from error


def _accuracy(line: dict[str, Any]) -> float:
    """Top-1 accuracy of a checkpoint's averaged weights, or of its weights where it has no average."""
    return line.get("average_top1", line.get("top1", 0.0))
