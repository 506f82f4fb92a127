"""How do pictures become label maps? A batch at a time, on one device and in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotate.errors import AnnotateError
from annotate.model.augmented_views import area_average, onto_grid, scaled_size
from annotate.model.compilation import compiled
from annotate.model.dense import Consistency
from annotate.model.elsewhere.dense_answer import AnyNetwork, dense_answer
from annotate.model.network import Network
from annotate.model.preprocess import preprocess
from annotate.model.recipe import Recipe
from storage import Box, LabelMap, Status
from storage.labelmap import class_dtype, no_class

DEFAULT_K = 5
NOT_FINITE = "the networks give no finite answer for this picture (NaN or infinity)"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that is ready for all networks.

    size:   height and width of the picture, pixels
    inputs: for each input size its pixels uint8 [H, W, 3], and the box of the picture that they show
    """

    size: tuple[int, int]
    inputs: tuple[tuple[NDArray[np.uint8], Box], ...] = field(repr=False)


class Annotator:
    """One network or several, which label every location of a picture.

    The label of a location is the mean over P passes (see `Recipe.passes`) of p = softmax(logits / T), where T is the
    recipe's temperature; of its classes the k most probable are kept.

    recipe:      as given
    k:           classes that are kept at each location
    grid:        rows and columns of the labels; those of the first network's map, unless the recipe has coarser ones
    class_count: number of classes of each network
    has_remainder: whether some probability may belong to no class, such as that of a vocabulary's background
    consistency: for each network, how close its dense answer is to its own; see `Consistency`
    provenance:  for each network, where its weights come from; JSON values, see `Network.provenance`

    Args:
        recipe: the networks and how they are used.
        k: classes to keep at each location; default: `DEFAULT_K`, or all where there are fewer.
        device: where the networks run, as torch names it.
        compile_for: the batch size to compile the networks for; None leaves them uncompiled.
        measured: the `provenance` of an earlier annotator of this recipe, whose measurements are then used again.

    Raises:
        AnnotateError: a network cannot be built, has no faithful dense answer, or fewer than k classes; or networks
            have different numbers of classes.

    Here weights.safetensors is a checkpoint for 10 classes:

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from annotate import Annotator, Recipe
    >>> recipe = Recipe.for_model(
    ...     "test_resnet", checkpoint=Path("weights.safetensors"), input_size=(64, 64), model_kwargs={"num_classes": 10}
    ... )
    >>> annotator = Annotator(recipe, k=3)
    >>> annotator
    Annotator('test_resnet', k=3, grid=(2, 2), device='cpu')
    >>> labels = annotator([np.zeros((48, 80, 3), np.uint8)])
    >>> labels.classes.shape, labels.scores.shape
    ((1, 2, 2, 3), (1, 2, 2, 3))
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        k: int | None = None,
        device: str = "cpu",
        compile_for: int | None = None,
        measured: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.recipe = recipe
        self._device = torch.device(device)
        self._compiled_for = compile_for
        # The inputs that pictures are fitted to, each once: (height, width) and filter. The first is the labels' own.
        self._inputs: list[tuple[tuple[int, int], str]] = []
        known = measured or [{}] * len(recipe.networks)
        self._ready = [self._load(network, found) for network, found in zip(recipe.networks, known, strict=True)]
        first = self._ready[0]
        self.grid, self.class_count, self._grid_box = recipe.grid or first.grid, first.class_count, first.grid_boxes[0]
        if self.grid[0] > first.grid[0] or self.grid[1] > first.grid[1]:
            raise AnnotateError(
                f"the map of {recipe.networks[0].model} has {first.grid[0]}x{first.grid[1]} locations, and the grid "
                f"{self.grid[0]}x{self.grid[1]} is finer; give at most its own, or a larger --input-size"
            )
        self.consistency = tuple(ready.consistency for ready in self._ready)
        self.provenance = tuple(ready.provenance for ready in self._ready)
        self.has_remainder = any(ready.has_remainder for ready in self._ready)
        for network, ready in zip(recipe.networks, self._ready, strict=True):
            if ready.class_count != self.class_count:
                raise AnnotateError(
                    f"the networks {recipe.networks[0].model} and {network.model} cannot be averaged: they have "
                    f"{self.class_count} and {ready.class_count} classes; use networks of the same classes"
                )
        self.k = min(DEFAULT_K, self.class_count) if k is None else k
        if not 1 <= self.k <= self.class_count:
            raise AnnotateError(
                f"cannot keep the {k} best classes of {recipe.networks[0].model}: it has {self.class_count} "
                f"classes; give a k from 1 to {self.class_count}"
            )

    def __repr__(self) -> str:
        """The networks and the shape of the labels, in one line."""
        models = ", ".join(repr(network.model) for network in self.recipe.networks)
        return f"Annotator({models}, k={self.k}, grid={self.grid}, device={str(self._device)!r})"

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """Fit a picture uint8 [H, W, 3] to the inputs of all networks. Safe to call from several threads."""
        fitted = (
            preprocess(picture, size, self.recipe.preprocess, interpolation=interpolation)
            for size, interpolation in self._inputs
        )
        return Prepared((picture.shape[0], picture.shape[1]), tuple(fitted))

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> LabelMap:
        """The label maps [n, h, w, k] of n pictures uint8 [H, W, 3] of any sizes.

        A picture for which a network gives NaN or infinity has the status REFUSED, and no label.
        """
        return self.start([self.prepare(picture) for picture in pictures])()

    def seconds(self) -> float:
        """The seconds that one picture takes here, from its pixels to its label; measured on a batch of two."""
        pictures = [np.zeros((256, 256, 3), np.uint8)] * 2
        started = time.perf_counter()
        self(pictures)
        return (time.perf_counter() - started) / len(pictures)

    @torch.inference_mode()
    def start(self, prepared: Sequence[Prepared]) -> Callable[[], LabelMap]:
        """Start the networks on n pictures; returns the function that waits for the labels [n, h, w, k].

        On a GPU this returns before the work is done, so that the next can be prepared; the function keeps no pixels.
        """
        fitted = [[picture.inputs[n][1] for picture in prepared] for n in range(len(self._inputs))]
        boxes, sizes = [box.to_outer(self._grid_box) for box in fitted[0]], [picture.size for picture in prepared]
        total: Any = 0
        own = self._ready[0].grid
        for n, grid_box, logits in self._logits(prepared):
            probabilities = (logits / self.recipe.temperature).softmax(-1)[..., : self.class_count]
            total = total + onto_grid(probabilities, [box.to_outer(grid_box) for box in fitted[n]], own, boxes)
        if own != self.grid:
            total = area_average(total, self.grid)
        scores, classes = (total / self.recipe.passes).topk(self.k, dim=-1)
        results = [self._from_device(values) for values in (scores, classes.to(torch.int32))]
        done = torch.cuda.Event() if self._device.type == "cuda" else None
        if done is not None:
            done.record()

        def wait() -> LabelMap:
            if done is not None:
                done.synchronize()
            classes = results[1].numpy().astype(class_dtype(self.class_count))
            labels: dict[str, Any] = {
                "classes": classes,
                "scores": results[0].numpy(),
                "boxes": np.array([box.edges for box in boxes], np.float32),
                "sizes": np.array(sizes, np.uint32),
                "status": np.full(len(sizes), Status.LABELLED, np.uint8),
            }
            # A logit that is NaN or plus infinity makes all probabilities of its location NaN.
            bad = ~np.isfinite(labels["scores"]).all((1, 2, 3))
            if bad.any():
                none: dict[str, Any] = {"classes": no_class(classes.dtype), "scores": 0, "boxes": np.nan}
                for name, value in (none | {"status": Status.REFUSED}).items():
                    labels[name][bad] = value
            return LabelMap(**labels)

        return wait

    @torch.inference_mode()
    def picture_logits(self, pictures: Sequence[NDArray[np.uint8]], *, with_rest: bool = False) -> torch.Tensor:
        """The logits of whole pictures in each pass, the mean over the locations: float32 [passes, n, classes].

        Where the dense head is exact, this is the network's own answer. They are not divided by the temperature.
        `with_rest` adds those of what belongs to no class, such as a vocabulary's background.
        """
        found = torch.stack([values.mean((1, 2)).cpu() for values in self.location_logits(pictures)])
        return found if with_rest else found[..., : self.class_count]

    @torch.inference_mode()
    def location_logits(self, pictures: Sequence[NDArray[np.uint8]]) -> Iterator[torch.Tensor]:
        """The logits [n, h, w, C] of each pass, not divided by the temperature; what belongs to no class is last."""
        yield from (values for _, _, values in self._logits([self.prepare(picture) for picture in pictures]))

    def _logits(self, prepared: Sequence[Prepared]) -> Iterator[tuple[int, Box, torch.Tensor]]:
        """For each pass: the number of its input, the box of its grid on it, and its logits, float32 [b, h, w, C].

        C is the number of classes, or more: what probabilities lack of 1, or a vocabulary's background, comes last. The
        logits and the box of a mirrored pass are mirrored back.
        """
        pixels = [self._to_device([picture.inputs[n][0] for picture in prepared]) for n in range(len(self._inputs))]
        for ready in self._ready:
            for n, grid_box in zip(ready.inputs, ready.grid_boxes, strict=True):
                normalised = (pixels[n].float() - ready.mean) / ready.std
                yield n, grid_box, self._forward(ready, normalised)
                if self.recipe.flip:
                    yield n, grid_box.mirrored(), self._forward(ready, normalised.flip(3)).flip(2)

    def _forward(self, ready: _ReadyNetwork, normalised: torch.Tensor) -> torch.Tensor:
        count = len(normalised)
        if self._compiled_for and count < self._compiled_for:  # another batch size would be compiled again
            missing = self._compiled_for - count
            normalised = torch.cat([normalised, normalised[-1:].expand(missing, *normalised.shape[1:])])
        with self._autocast():
            logits = ready.dense(normalised.contiguous(memory_format=torch.channels_last))[:count]
        return logits.float()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _to_device(self, pixels: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """The pixels as one tensor, uint8 [b, 3, H, W], channels last in memory."""
        # A GPU reads pinned memory by itself, while this process continues; stacked there, pixels are copied only once.
        is_cuda = self._device.type == "cuda"
        stacked = torch.empty((len(pixels), *pixels[0].shape), dtype=torch.uint8, pin_memory=is_cuda)
        np.stack(pixels, out=stacked.numpy())
        return stacked.to(self._device, non_blocking=is_cuda).permute(0, 3, 1, 2)

    def _from_device(self, values: torch.Tensor) -> torch.Tensor:
        if self._device.type != "cuda":
            return values
        return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)

    def _load(self, network: AnyNetwork, measured: Mapping[str, Any]) -> _ReadyNetwork:
        dense, provenance = dense_answer(network, self.recipe.head)
        grid, class_count, consistency = dense.consistency(network.input_size)
        inputs: list[int] = []
        grid_boxes = [Box.from_edges(edges) for edges in measured.get("grid_boxes", ())]
        is_measured = bool(grid_boxes)
        for scale in sorted(self.recipe.scales, key=lambda scale: scale != 1):
            fit = scaled_size(network.input_size, dense.steps(network.input_size, grid), scale), network.interpolation
            if fit not in self._inputs:
                self._inputs.append(fit)
            if self._inputs.index(fit) in inputs:
                raise AnnotateError(
                    f"at {scale} times its input size of {network.input_size}, the network {network.model} has "
                    f"the same input as at another scale, {fit[0]}; use scales that are further apart"
                )
            # Checked for each size: the network may not take this one.
            its_grid = grid if scale == 1 else dense.consistency(fit[0])[0]
            inputs.append(self._inputs.index(fit))
            if not is_measured:
                grid_boxes.append(dense.grid_box(fit[0], its_grid))
        placed: Any = dense.to(self._device)
        if isinstance(network, Network):
            placed = placed.to(memory_format=torch.channels_last)
            placed = compiled(placed) if self._compiled_for else placed
        mean, std = (torch.tensor(v, device=self._device).view(3, 1, 1) * 255 for v in (network.mean, network.std))
        return _ReadyNetwork(
            dense=placed,
            inputs=tuple(inputs),
            grid_boxes=tuple(grid_boxes),
            mean=mean,
            std=std,
            grid=grid,
            class_count=class_count,
            consistency=consistency,
            has_remainder=dense.has_remainder,
            provenance=provenance
            | {"model": network.model, "head": str(consistency), "grid_boxes": [list(box.edges) for box in grid_boxes]},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadyNetwork:
    """A network on its device; the numbers of the inputs that it takes, and the box of its grid on each."""

    dense: Callable[[torch.Tensor], torch.Tensor]
    inputs: tuple[int, ...]
    grid_boxes: tuple[Box, ...]
    mean: torch.Tensor
    std: torch.Tensor
    grid: tuple[int, int]
    class_count: int
    consistency: Consistency
    has_remainder: bool
    provenance: dict[str, Any]
