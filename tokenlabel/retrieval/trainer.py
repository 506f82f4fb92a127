"""How are descriptors trained and evaluated? In one process: pairs of a batch, a memory of earlier ones, and KoLeo.

OUTPUT/last.pt   weights and settings, after every `evaluate_every` steps
OUTPUT/log.csv   a line for each of these: losses, and what an evaluation found
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import load_checkpoint
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from storage import open_store
from tokenlabel.dataset import folder_keys
from tokenlabel.errors import LabelError
from tokenlabel.retrieval.descriptor import Descriptor
from tokenlabel.retrieval.evaluation import RetrievalScores, retrieval_scores
from tokenlabel.retrieval.losses import (
    CrossBatchMemory,
    contrastive_loss,
    koleo_loss,
    machine_identities,
    mean_log_distance,
    positive_pairs,
)
from tokenlabel.retrieval.pictures import Batch, Pictures, batch_of, labelled_pictures, pipeline
from tokenlabel.retrieval.sampler import ClassBatches
from tokenlabel.retrieval.settings import RetrievalSettings
from tokenlabel.retrieval.whitening import Whitening
from tokenlabel.train.checkpoint import LAST, read_checkpoint, write_checkpoint, write_log
from tokenlabel.train.process_group import ProcessGroup


class RetrievalTrainer:
    """A descriptor, and what its settings do with it.

    Args:
        settings: all of them.

    Raises:
        LabelError: settings, pictures and labels do not fit each other.
    """

    def __init__(self, settings: RetrievalSettings) -> None:
        self.settings = settings
        group = ProcessGroup.here(settings.device)
        if group.processes > 1:
            raise LabelError(
                f"descriptors are trained in one process, not {group.processes}; start it without torchrun"
            )
        self.device = group.device
        torch.manual_seed(settings.seed)  # of the first weights
        self.descriptor = Descriptor(_network(settings), pooling=settings.pooling).to(self.device)  # type: ignore[arg-type]
        shown = resolve_model_data_config(self.descriptor.network)
        self._shown = {name: shown[name] for name in ("mean", "std")}

    def train(self) -> None:
        """All steps; what is learnt is saved and evaluated on the way.

        Raises:
            LabelError: pictures and labels do not fit, or the output folder holds a training already.
            FloatingPointError: the loss is not finite.
        """
        settings = self.settings
        output = Path(settings.output)
        output.mkdir(parents=True, exist_ok=True)
        if (output / LAST).exists():
            raise LabelError(f"{output} holds a training already; give another --output, or --evaluate it")
        images = ImageFolder(settings.data)
        identities, groups = self._identities(images)
        batches = ClassBatches(
            groups.tolist(), classes=settings.classes, each=settings.each, steps=settings.steps, seed=settings.seed
        )
        loader = DataLoader(
            self._pictures(images, settings.labels, hflip=settings.hflip),
            batch_sampler=batches,
            num_workers=settings.workers,
            collate_fn=batch_of,
            generator=torch.Generator(),
        )
        memory = self._memory(len(images), identities)
        average = ModelEmaV3(self.descriptor, decay=settings.momentum) if settings.momentum else None
        optimizer = create_optimizer_v2(
            self.descriptor, opt="adamw", lr=settings.lr, weight_decay=settings.weight_decay
        )
        torch.manual_seed(settings.seed)  # of dropout
        log: list[dict[str, Any]] = []
        sums = dict.fromkeys(("contrastive", "koleo"), 0.0)
        self.descriptor.train()
        for step, batch in enumerate(tqdm(loader, desc="training", unit=" steps"), 1):
            kept = memory if step > settings.memory_after else None
            losses = self._step(batch.to(self.device), identities, optimizer, kept, average)
            sums = {name: sums[name] + value for name, value in losses.items()}
            if step % settings.evaluate_every and step < settings.steps:
                continue
            since = step - (log[-1]["step"] if log else 0)
            log.append({"step": step, **{name: value / since for name, value in sums.items()}, **self._evaluated()})
            sums = dict.fromkeys(sums, 0.0)
            state = {"state_dict": self.descriptor.network.state_dict(), "settings": asdict(settings), "log": log}
            write_checkpoint(output, [LAST], state)
            write_log(output, log)
            tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in log[-1].items()))
            self.descriptor.train()

    def evaluate(self) -> tuple[dict[str, RetrievalScores], float]:
        """Scores on the pictures in `val` by the name of what was searched, and their mean log distance.

        "descriptors", and if `pca` is set "pca" of those after whitening that was fitted on `data`.

        Raises:
            LabelError: a setting is missing; pictures and labels do not fit.
        """
        settings = self.settings
        found, classes = self.describe(settings.val, settings.val_labels)
        scores = {"descriptors": retrieval_scores(found, classes)}
        if settings.pca:
            if not settings.data:
                raise LabelError("--data is needed: --pca is fitted on the training pictures")
            whitening = Whitening.fit(self.describe(settings.data, settings.labels)[0], settings.pca)
            scores["pca"] = retrieval_scores(whitening(found), classes)
        return scores, mean_log_distance(found)

    @torch.no_grad()
    def describe(self, folder: str, labels: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The descriptors float32 [n, d] and the classes int64 [n] of a folder's pictures, on the CPU.

        Args:
            folder: with a folder for each class.
            labels: its label store, for pooling by labels.
        """
        images = ImageFolder(folder)
        batch_size = self.settings.classes * self.settings.each
        data = self._pictures(images, labels)
        loader = DataLoader(data, batch_size, num_workers=self.settings.workers, collate_fn=batch_of)
        self.descriptor.eval()
        found = [self._described(self.descriptor, batch.to(self.device)).cpu() for batch in loader]
        return torch.cat(found), torch.tensor(images.targets)

    def load(self, file: Path) -> None:
        """Take the weights of a training's last.pt.

        Raises:
            LabelError: they are of another network.
        """
        state = read_checkpoint(file, self.device)["state_dict"]
        try:
            self.descriptor.network.load_state_dict(state)
        except RuntimeError as error:
            raise LabelError(f"the weights in {file} are not those of {self.settings.model}: {error}") from error

    def _step(
        self,
        batch: Batch,
        identities: torch.Tensor,
        optimizer: Any,
        memory: CrossBatchMemory | None,
        average: Any,
    ) -> dict[str, float]:
        settings = self.settings
        z, who = self._described(self.descriptor, batch), identities[batch.indices]
        others, theirs, indices = z, who, batch.indices
        if memory is not None:
            kept = memory.contents()
            others, theirs, indices = (torch.cat(pair) for pair in zip((z, who, batch.indices), kept, strict=True))
        pull = contrastive_loss(
            z,
            others,
            positive_pairs(who, theirs, threshold=settings.threshold),
            same=batch.indices[:, None] == indices,
            margin=settings.margin,
        )
        spread = koleo_loss(z)
        loss = pull + settings.koleo * spread
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"the loss is {loss.detach().item()}; try a lower --lr, in another --output")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if average is not None:
            average.update(self.descriptor)
        if memory is not None:
            with torch.no_grad():
                entries = z if average is None else self._described(average.module, batch)
            memory.add(entries, who, batch.indices)
        return {"contrastive": pull.detach().item(), "koleo": spread.detach().item()}

    def _described(self, descriptor: nn.Module, batch: Batch) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.amp == "bfloat16"):
            found: torch.Tensor = descriptor(batch.pixels, batch.weights)
        return found

    def _pictures(self, images: ImageFolder, labels: str, hflip: float | None = None) -> Any:
        settings = self.settings
        shown = pipeline(settings.img_size, settings.resize, hflip=hflip, **self._shown)
        if not settings.label_pooling:
            return Pictures(images, shown, seed=settings.seed)
        if not labels:
            raise LabelError(f"--label-pooling needs the label store of {images.root}: give --labels and --val-labels")
        grid = self.descriptor.token_grid((settings.img_size, settings.img_size))
        return labelled_pictures(images, labels, shown, grid, settings.seed)

    def _identities(self, images: ImageFolder) -> tuple[torch.Tensor, torch.Tensor]:
        """Who each picture is, on the device, and the class numbers by which batches are drawn."""
        if self.settings.positives == "class":
            classes = torch.tensor(images.targets)
            return classes.to(self.device), classes
        if not self.settings.labels:
            raise LabelError(f"--positives {self.settings.positives} needs the label store of {images.root}: --labels")
        by = "distribution" if self.settings.positives == "overlap" else "argmax"
        found = machine_identities(open_store(self.settings.labels), folder_keys(images), by=by)  # type: ignore[arg-type]
        return found.to(self.device), found.argmax(1) if found.ndim == 2 else found

    def _memory(self, pictures: int, identities: torch.Tensor) -> CrossBatchMemory | None:
        size = round(self.settings.memory * pictures)
        if not size:
            return None
        count = identities.shape[1] if identities.ndim == 2 else None
        return CrossBatchMemory(size, self.descriptor.width, class_count=count).to(self.device)

    def _evaluated(self) -> dict[str, float]:
        """The columns of log.csv that an evaluation fills."""
        if not self.settings.val:
            return {}
        scores, spread = self.evaluate()
        columns = {"log_distance": spread}
        for name, found in scores.items():
            before = "" if name == "descriptors" else f"{name}_"
            columns |= {f"{before}recall_at_{k}": value for k, value in found.recall.items()}
            columns |= {f"{before}map": found.map, f"{before}map_at_r": found.map_at_r}
        return columns


def _network(settings: RetrievalSettings) -> Any:
    options: dict[str, Any] = {"num_classes": 0, "pretrained": settings.pretrained, "img_size": settings.img_size}
    while True:
        try:
            network = timm.create_model(settings.model, **options)
            break
        except TypeError as error:
            if "img_size" not in str(error) or "img_size" not in options:
                raise
            del options["img_size"]  # a network that need not know it
        except RuntimeError as error:
            raise LabelError(f"timm cannot make {settings.model}: {error}; `timm.list_models()` lists names") from error
        except (ValueError, AssertionError) as error:
            raise LabelError(f"{settings.model} cannot be made with --img-size {settings.img_size}: {error}") from error
    if settings.initial:
        try:
            found = load_checkpoint(network, settings.initial, strict=False, filter_fn=_bare, weights_only=True)
        except (OSError, RuntimeError) as error:
            reason = error if str(error) else "there is no such file"  # the error of timm has no message
            raise LabelError(f"{settings.initial} has no weights of {settings.model}: {reason}") from error
        if missing := found.missing_keys:
            raise LabelError(
                f"{settings.initial} lacks {len(missing)} of {settings.model}'s weights, the first of them "
                f"{missing[0]!r}; give weights of that network"
            )
    return network


def _bare(weights: dict[str, torch.Tensor], _network: nn.Module) -> dict[str, torch.Tensor]:
    """The names of the network's own weights, where it learned inside `with_token_head`."""
    return {name.removeprefix("network."): value for name, value in weights.items()}
