"""How is an LV-ViT trained on a store? `python -m tokenlabel.train --config lvvit_s.toml`: a loop to read and change.

    python -m tokenlabel.train --config lvvit_s.toml --data imagenet/train --labels labels.zarr --val imagenet/val \
        --output runs/lvvit_s                                              # one process
    torchrun --nproc-per-node 8 -m tokenlabel.train …                      # eight GPUs
    python -m tokenlabel.train … --evaluate                                # accuracy of what was trained

All chance is a pure function of (seed, epoch, index or process), so that a training that was interrupted, and begun
again by the same command, takes the same steps as one that was not.

    OUTPUT/last.pt     after each epoch: weights, their average, optimizer, epoch and settings
    OUTPUT/best.pt     the same of the epoch with the best accuracy on --val
    OUTPUT/log.csv     a line for each epoch
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm import optim, scheduler, utils
from timm.data import create_transform
from timm.models import load_state_dict
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from torchvision.datasets import ImageFolder
from tqdm import tqdm

import tokenlabel.models  # noqa: F401 its students become known to timm
from storage import StoreError, open_store
from tokenlabel.dataset import LabeledImages, collate, folder_keys
from tokenlabel.errors import LabelError
from tokenlabel.evaluation import Accuracy, evaluator
from tokenlabel.loss import SoftLabel, token_label_loss
from tokenlabel.mixing import Mixer
from tokenlabel.models import LVViT
from tokenlabel.place import Place
from tokenlabel.targets import TokenTargets
from tokenlabel.timm_bridge import Traced
from tokenlabel.train_settings import TrainSettings

_LOOKS = 50  # steps between looks at the loss, for each of which a GPU has to be waited for


class Trainer:
    """A training: what it has learnt, and how it goes on.

    Args:
        settings: of it.
        place: of this process.

    Raises:
        LabelError: settings, pictures and labels that do not go together, or an output of other settings.
    """

    def __init__(self, settings: TrainSettings, place: Place) -> None:
        self.settings, self.place = settings, place
        self.images = ImageFolder(settings.data)
        self.store = open_store(settings.labels)
        self.classes = self.store.schema.class_count
        self.output = Path(settings.output)
        self.output.mkdir(parents=True, exist_ok=True)
        last = self.output / "last.pt"
        first = replace(settings, initial="") if last.exists() else settings
        self.model = student(first, self.classes).to(place.device, memory_format=torch.channels_last)
        grid = self.model.patch_embed.grid_size
        self.data = LabeledImages(
            self.images,
            self.store,
            augment=Traced(_augmentation(settings)),
            tokens=grid,
            class_count=self.classes,
            seed=settings.seed,
        )
        # An even number of pictures a step in every process: what is left of an epoch is left out.
        self.sampler: DistributedSampler[Any] = DistributedSampler(
            self.data, place.processes, place.rank, seed=settings.seed, drop_last=True
        )
        self.loader = DataLoader(
            self.data,
            settings.batch_size,
            sampler=self.sampler,
            num_workers=settings.workers,
            collate_fn=collate,
            pin_memory=place.device.type == "cuda",
            drop_last=True,
            persistent_workers=settings.workers > 0,
            generator=torch.Generator(),  # or it would draw from torch's own, now and then
        )
        if not len(self.loader):
            raise LabelError(
                f"{len(self.images)} pictures give {place.processes} processes no batch of {settings.batch_size} each"
            )
        mixed, seed = float(settings.mixtoken), settings.seed * place.processes + place.rank
        self.mixer = Mixer(grid, self.classes, mixup=0, cutmix=0, mixtoken=1.0, probability=mixed, seed=seed)
        rate = settings.batch_size * place.processes / settings.lr_batch
        self.optimizer = optim.create_optimizer_v2(
            self.model, opt="adamw", lr=settings.lr * rate, weight_decay=settings.weight_decay
        )
        self.schedule, self.epochs = scheduler.create_scheduler_v2(
            self.optimizer,
            num_epochs=settings.epochs,
            cooldown_epochs=settings.cooldown_epochs,
            warmup_epochs=settings.warmup_epochs,
            warmup_lr=settings.warmup_lr * rate,
            min_lr=settings.min_lr * rate,
        )
        self.average = utils.ModelEmaV3(self.model, decay=settings.ema_decay) if settings.ema_decay else None
        self.wrapped: nn.Module = self.model
        if place.processes > 1:
            of_device = [place.device.index] if place.device.type == "cuda" else None
            self.wrapped = DistributedDataParallel(self.model, device_ids=of_device)
        self.epoch, self.log = 0, list[dict[str, Any]]()
        # What is taught, whatever the folders are called: the pictures, and who labelled them.
        recipe = json.dumps(self.store.schema.to_json()["recipe"], sort_keys=True)
        self.lesson = hashlib.sha256("\n".join([recipe, *folder_keys(self.images)]).encode()).hexdigest()
        if last.exists():
            self._go_on(last)

    def run(self, evaluate: Callable[[nn.Module], Accuracy] | None) -> None:
        """All epochs that are left, each kept when it ends.

        Args:
            evaluate: gives the accuracy of a model; None where there is nothing to evaluate on.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        for epoch in range(self.epoch, self.epochs):
            self.epoch = epoch
            started = time.monotonic()
            self.schedule.step(self.epoch)
            line: dict[str, Any] = {"epoch": self.epoch, "lr": self.optimizer.param_groups[0]["lr"]}
            line["loss"] = self._train_one_epoch()
            line["seconds"] = round(time.monotonic() - started, 1)
            line["pictures_per_second"] = round(
                len(self.loader) * self.settings.batch_size * self.place.processes / max(line["seconds"], 1e-9), 1
            )
            averages = [] if self.average is None else [self.average.module]
            for model in (self.model, *averages) if self.place.processes > 1 else ():
                utils.distribute_bn(model, self.place.processes, reduce=True)  # each has had other pictures
            if evaluate is not None:
                line["top1"], line["top5"] = evaluate(self.model)
                for model in averages:
                    line["average_top1"], line["average_top5"] = evaluate(model)
            if self.place.rank == 0:
                self._keep(line)
        if self.place.rank == 0:
            tqdm.write(f"{self.output} has all its {self.epochs} epochs")

    def _train_one_epoch(self) -> float:
        """One pass over the pictures; the mean of its losses."""
        settings, place, device = self.settings, self.place, self.place.device
        self.data.set_epoch(self.epoch)
        self.sampler.set_epoch(self.epoch)
        # Stochastic depth draws from torch's own generator: it starts anew, so that nothing of it has to be kept.
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, self.epoch, place.rank]).generate_state(1)[0]))
        self.model.train()
        total = torch.zeros((), device=device, dtype=torch.float64)
        name = f"epoch {self.epoch + 1} of {self.epochs}"
        with tqdm(self.loader, desc=name, unit=" steps", disable=True if place.rank else None) as bar:
            for index, (pixels, targets, classes) in enumerate(bar):
                pixels = pixels.to(device, non_blocking=True, memory_format=torch.channels_last)
                targets, classes = targets.to(device, non_blocking=True), classes.to(device, non_blocking=True)
                mix = self.mixer.draw(len(pixels), pixels.shape[-2:], epoch=self.epoch, index=index)
                targets = targets.smoothed(settings.smoothing, class_count=self.classes)
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.amp == "bfloat16"):
                    picture, tokens = self.wrapped(pixels, mix)
                loss = token_label_loss(
                    picture,
                    tokens,
                    mix.targets(targets, class_count=self.classes),
                    label=smoothed(mix.label(classes), settings.smoothing, self.classes)
                    if settings.picture == "class"
                    else None,
                    token_weight=settings.token_weight,
                )
                self.optimizer.zero_grad()
                loss.backward()
                if settings.clip_grad:
                    nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_grad)
                self.optimizer.step()
                if self.average is not None:
                    self.average.update(self.model)
                total += loss.detach()
                if index % _LOOKS == 0 or index + 1 == len(self.loader):
                    shown = loss.item()
                    if not np.isfinite(shown):
                        raise FloatingPointError(
                            f"the loss is {shown} at step {index} of epoch {self.epoch}; try a lower --lr or "
                            "--clip-grad 1, in another --output"
                            + (
                                f", and --initial {self.output}/last.pt to begin with what was learnt"
                                if self.log
                                else ""
                            )
                        )
                    bar.set_postfix(loss=f"{shown:.3f}")
        return float(place.summed(total)) / place.processes / len(self.loader)

    def _keep(self, line: dict[str, Any]) -> None:
        """Write down an epoch: all of it or nothing."""
        before = max((_accuracy(earlier) for earlier in self.log), default=0.0)
        self.log.append(line)
        state = {
            "log": self.log,
            "settings": asdict(self.settings),
            "processes": self.place.processes,
            "classes": self.images.classes,
            "lesson": self.lesson,
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            state["state_dict_ema"] = self.average.module.state_dict()
        for name in ["best.pt"] * (_accuracy(line) > before) + ["last.pt"]:
            _replace(self.output / name, lambda path: torch.save(state, path))
        _replace(self.output / "log.csv", self._write_log)
        tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in line.items()))

    def _write_log(self, path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for line in self.log for name in line)))
            writer.writeheader()
            writer.writerows(self.log)

    def _go_on(self, last: Path) -> None:
        """Take up a training where it was left."""
        state = _read(last, partial(torch.load, map_location=self.place.device))
        differences = self.settings.differences(state["settings"])
        if state["processes"] != self.place.processes:
            differences.append(f"{state['processes']} processes, not {self.place.processes}")
        if state["lesson"] != self.lesson:
            differences.append("other pictures or other labels")
        if differences:
            raise LabelError(
                f"{self.output} has a training with {'; '.join(differences)}. Go on with the same settings, or give "
                "another --output"
            )
        self.model.load_state_dict(state["state_dict"])
        if self.average is not None:
            self.average.module.load_state_dict(state["state_dict_ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log = state["log"]
        self.epoch = len(self.log)
        if self.place.rank == 0:
            _replace(self.output / "log.csv", self._write_log)


def student(settings: TrainSettings, classes: int) -> LVViT:
    """The model of the settings, with its first weights.

    Raises:
        LabelError: it is no LV-ViT, or the weights are not its own.
    """
    if not timm.is_model(settings.model):
        raise LabelError(f"timm knows no {settings.model!r}; there are {', '.join(timm.list_models('lvvit*'))}")
    torch.manual_seed(settings.seed)
    model = timm.create_model(
        settings.model, num_classes=classes, img_size=settings.img_size, drop_path_rate=settings.drop_path
    )
    if not isinstance(model, LVViT):
        raise LabelError(
            f"{settings.model} does not answer for its tokens as an LV-ViT does; docs/trainers.md shows how any other "
            "network is trained, with timm's own loop"
        )
    model.set_grad_checkpointing(settings.grad_checkpointing)
    if settings.initial:
        _load(model, settings.initial)
    return model


def _load(model: LVViT, file: Path | str) -> None:
    """Load the average of the weights in a checkpoint, or where it has none the weights."""
    state = _read(file, load_state_dict)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise LabelError(f"the weights in {file} are not those of this model and its classes: {error}") from error


def _read(file: Path | str, read: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """What is in a checkpoint. It holds tensors and plain values; whatever else a file holds is not run."""
    if not Path(file).is_file():
        raise LabelError(f"there are no weights at {file}")
    try:
        return read(str(file), weights_only=True)
    except Exception as error:
        raise LabelError(f"{file} cannot be read as a checkpoint ({type(error).__name__}); is it whole?") from error


def smoothed(label: SoftLabel, smoothing: float, class_count: int) -> SoftLabel:
    """(1 − s) y + s / C, as `TokenTargets.smoothed` makes it."""
    targets = TokenTargets(*label, torch.zeros_like(label[0][..., 0], dtype=torch.bool))
    targets = targets.smoothed(smoothing, class_count=class_count)
    return targets.classes, targets.probabilities


def _augmentation(settings: TrainSettings) -> Any:
    try:
        return create_transform(
            settings.img_size,
            is_training=True,
            scale=(settings.scale_min, 1.0),
            hflip=settings.hflip,
            auto_augment=settings.auto_augment or None,
            interpolation="bicubic",
            re_prob=settings.reprob,
            re_mode="pixel",
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise LabelError(f"timm cannot make augmentations of auto_augment {settings.auto_augment!r}") from error


def _accuracy(line: dict[str, Any]) -> float:
    """Of the weights that a checkpoint gives: their average, where there is one."""
    return line.get("average_top1", line.get("top1", 0.0))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file anew, so that at any time the old or the new one is there, whole."""
    unfinished = path.with_name(path.name + ".unfinished")
    write(unfinished)
    os.replace(unfinished, path)


def _evaluate(settings: TrainSettings, place: Place) -> None:
    """Print the accuracy of what was trained, or of the initial weights."""
    if not settings.val:
        raise LabelError("nothing to evaluate on: give --val, a folder of class folders")
    classes = None
    if not settings.initial:
        last = Path(settings.output) / "last.pt"
        state = _read(last, partial(torch.load, map_location="cpu"))
        known = {name: state["settings"][name] for name in ("model", "img_size", "crop_pct")}
        settings, classes = replace(settings, **known, initial=str(last)), state["classes"]
    evaluate = evaluator(settings, place, classes)
    model = student(settings, len(classes or ImageFolder(settings.val).classes)).to(place.device)
    assert evaluate is not None
    top1, top5 = evaluate(model)
    if place.rank == 0:
        print(f"top-1 {100 * top1:.2f} %, top-5 {100 * top5:.2f} %")  # noqa: T201 the answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or evaluate, as the command line says. What a user can mend ends the program with a line that says how."""
    settings, only_evaluate = TrainSettings.from_arguments(arguments)
    if settings.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: there is no GPU that torch can use; leave out --device cuda to train on the CPU")
    place = Place.here(settings.device)
    try:
        if only_evaluate:
            _evaluate(settings, place)
            return
        for name in ("data", "labels", "output"):
            if not getattr(settings, name):
                raise LabelError(f"--{name} is needed: the {TrainSettings.text(name)}")
        trainer = Trainer(settings, place)
        trainer.run(evaluator(settings, place, trainer.images.classes))
    except (LabelError, StoreError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    finally:
        if place.processes > 1:
            distributed.destroy_process_group()


if __name__ == "__main__":
    main()
