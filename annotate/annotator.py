"""How do pictures become label maps? On one device, in one process; no cluster and no disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotate.compilation import compiled
from annotate.dense import Consistency, DenseClassifier
from annotate.errors import AnnotateError
from annotate.network import Network
from annotate.preprocess import preprocess
from annotate.recipe import Recipe
from annotate.views import onto_grid, scaled_size
from storage import Box, LabelMap, Status
from storage.labelmap import class_dtype


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that is ready for all networks: its size, and for each input its pixels uint8 [H, W, 3] and box."""

    size: tuple[int, int]
    inputs: tuple[tuple[NDArray[np.uint8], Box], ...]


class Annotator:
    """One network or several, which label every location of a picture.

    grid, class_count: of the labels, found when it is made
    consistency: of each network's dense head with its own answer
    provenance: where each network's weights come from, JSON values

    Raises:
        AnnotateError: a network cannot be made, has no faithful dense answer, or fewer than k classes; or networks have
            different numbers of classes.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        k: int,
        device: str = "cpu",
        compile_for: int | None = None,
        measured: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Make the networks ready.

        Args:
            recipe: the networks and how they are used.
            k: classes to keep.
            device: where they work.
            compile_for: the batch size to compile the networks for.
            measured: the `provenance` of an earlier annotator of this recipe, so that nothing is measured again.
        """
        self.recipe = recipe
        self.k = k
        self._device = torch.device(device)
        self._compiled_for = compile_for
        # What the pictures are fitted to: (height, width) and filter, each once. The labels' own comes first.
        self._inputs: list[tuple[tuple[int, int], str]] = []
        known = measured or [{}] * len(recipe.networks)
        self._looks = [self._load(network, found) for network, found in zip(recipe.networks, known, strict=True)]
        first = self._looks[0]
        self.grid, self.class_count, self._grid_box = first.grid, first.class_count, first.grid_boxes[0]
        self.consistency = tuple(look.consistency for look in self._looks)
        self.provenance = tuple(look.provenance for look in self._looks)
        for network, look in zip(recipe.networks, self._looks, strict=True):
            if look.class_count != self.class_count:
                raise AnnotateError(
                    f"the networks {recipe.networks[0].model} and {network.model} cannot be averaged: they have "
                    f"{self.class_count} and {look.class_count} classes; use networks of the same classes"
                )
        if not 1 <= k <= self.class_count:
            raise AnnotateError(
                f"cannot keep the {k} best classes of {recipe.networks[0].model}: it has {self.class_count}; "
                "give a k up to that"
            )

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """Fit a picture uint8 [H, W, 3] to the inputs of all networks. Any thread may do it."""
        fitted = (
            preprocess(picture, size, self.recipe.preprocess, interpolation=interpolation)
            for size, interpolation in self._inputs
        )
        return Prepared((picture.shape[0], picture.shape[1]), tuple(fitted))

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> LabelMap:
        """The label maps [n, h, w, k] of n pictures uint8 [H, W, 3] of any sizes.

        A location's probabilities are those of a softmax over all classes; the k largest are kept.
        """
        return self.start([self.prepare(picture) for picture in pictures])()

    def seconds(self) -> float:
        """What a picture takes here, from its pixels to its label; measured on a batch of two."""
        pictures = [np.zeros((256, 256, 3), np.uint8)] * 2
        started = time.perf_counter()
        self(pictures)
        return (time.perf_counter() - started) / len(pictures)

    @torch.inference_mode()
    def start(self, prepared: Sequence[Prepared]) -> Callable[[], LabelMap]:
        """Give the networks their work; the function to call for the labels [n, h, w, k].

        On a GPU this returns while it works, so that the next pictures can be made ready meanwhile.
        """
        fitted = [[picture.inputs[n][1] for picture in prepared] for n in range(len(self._inputs))]
        boxes = [box.place(self._grid_box) for box in fitted[0]]
        total: Any = 0
        for n, grid_box, logits in self._logits(prepared):
            probabilities = (logits / self.recipe.temperature).softmax(-1)
            total = total + onto_grid(probabilities, [box.place(grid_box) for box in fitted[n]], self.grid, boxes)
        scores, classes = (total / self.recipe.looks).topk(self.k, dim=-1)
        there = [self._from_device(values) for values in (scores, classes.to(torch.int32))]
        done = torch.cuda.Event() if self._device.type == "cuda" else None
        if done is not None:
            done.record()

        def finish() -> LabelMap:
            if done is not None:
                done.synchronize()
            return LabelMap(
                classes=there[1].numpy().astype(class_dtype(self.class_count)),
                scores=there[0].numpy(),
                boxes=np.array([box.edges for box in boxes], np.float32),
                sizes=np.array([picture.size for picture in prepared], np.uint32),
                status=np.full(len(prepared), Status.LABELLED, np.uint8),
            )

        return finish

    @torch.inference_mode()
    def answers(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """What each look says of whole pictures, its mean logits over the locations: float32 [looks, n, classes].

        Where the dense head is exact, that is the network's own answer. The temperature has no part in it.
        """
        logits = self._logits([self.prepare(picture) for picture in pictures])
        return torch.stack([values.mean((1, 2)).cpu() for _, _, values in logits])

    def _logits(self, prepared: Sequence[Prepared]) -> Iterator[tuple[int, Box, torch.Tensor]]:
        """Of each look, the number of its input, the place of its grid on that, and its logits float32 [b, h, w, C].

        Those of a mirrored look are turned back, and so is the place of its grid.
        """
        pixels = [self._to_device([picture.inputs[n][0] for picture in prepared]) for n in range(len(self._inputs))]
        for look in self._looks:
            for n, grid_box in zip(look.inputs, look.grid_boxes, strict=True):
                normalised = (pixels[n].float() - look.mean) / look.std
                yield n, grid_box, self._ask(look, normalised)
                if self.recipe.flip:
                    yield n, grid_box.mirrored(), self._ask(look, normalised.flip(3)).flip(2)

    def _ask(self, look: _Look, normalised: torch.Tensor) -> torch.Tensor:
        count = len(normalised)
        if self._compiled_for and count < self._compiled_for:  # for another size it would be compiled again
            rest = self._compiled_for - count
            normalised = torch.cat([normalised, normalised[-1:].expand(rest, *normalised.shape[1:])])
        with self._autocast():
            logits = look.dense(normalised.contiguous(memory_format=torch.channels_last))[:count]
        return logits.float()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _to_device(self, pixels: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """uint8 [b, 3, H, W], its channels last in memory."""
        stacked = torch.from_numpy(np.stack(pixels))
        if self._device.type == "cuda":
            stacked = stacked.pin_memory().to(self._device, non_blocking=True)
        return stacked.permute(0, 3, 1, 2)

    def _from_device(self, values: torch.Tensor) -> torch.Tensor:
        if self._device.type != "cuda":
            return values
        return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)

    def _load(self, network: Network, measured: Mapping[str, Any]) -> _Look:
        model = network.build()
        provenance = network.provenance(model)
        dense = DenseClassifier(model, network.model, self.recipe.head)
        grid, class_count, consistency = dense.consistency(network.input_size)
        inputs: list[int] = []
        grid_boxes = [Box.from_edges(edges) for edges in measured.get("grid_boxes", ())]
        is_known = bool(grid_boxes)
        for scale in sorted(self.recipe.scales, key=lambda scale: scale != 1):
            fit = scaled_size(network.input_size, dense.steps(network.input_size, grid), scale), network.interpolation
            if fit not in self._inputs:
                self._inputs.append(fit)
            if self._inputs.index(fit) in inputs:
                raise AnnotateError(
                    f"at {scale} times its input size of {network.input_size} the network {network.model} sees no more "
                    f"or less than at another scale, {fit[0]}; use scales that are further apart"
                )
            # Another size may be one that the network does not take.
            its_grid = grid if scale == 1 else dense.consistency(fit[0])[0]
            inputs.append(self._inputs.index(fit))
            if not is_known:
                grid_boxes.append(dense.grid_box(fit[0], its_grid))
        asked: torch.nn.Module = dense.to(self._device).to(memory_format=torch.channels_last)
        mean, std = (torch.tensor(v, device=self._device).view(3, 1, 1) * 255 for v in (network.mean, network.std))
        return _Look(
            dense=compiled(asked) if self._compiled_for else asked,
            inputs=tuple(inputs),
            grid_boxes=tuple(grid_boxes),
            mean=mean,
            std=std,
            grid=grid,
            class_count=class_count,
            consistency=consistency,
            provenance=provenance
            | {"model": network.model, "head": str(consistency), "grid_boxes": [list(box.edges) for box in grid_boxes]},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A network that is ready to be asked; the numbers of the inputs through which it looks, and its grid on each."""

    dense: Callable[[torch.Tensor], torch.Tensor]
    inputs: tuple[int, ...]
    grid_boxes: tuple[Box, ...]
    mean: torch.Tensor
    std: torch.Tensor
    grid: tuple[int, int]
    class_count: int
    consistency: Consistency
    provenance: dict[str, Any]
