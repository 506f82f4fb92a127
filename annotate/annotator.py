"""How do pictures become label maps? On one device, in one process; no cluster and no disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from annotate.dense import DenseClassifier
from annotate.errors import AnnotateError
from annotate.preprocess import preprocess
from annotate.recipe import Recipe
from storage import LabelMap, Status
from storage.labelmap import class_dtype


class Annotator:
    """A network that labels every location of a picture.

    grid, class_count and consistency are measured when it is made.

    Raises:
        AnnotateError: the network cannot be made, has no faithful dense answer, or fewer than k classes.
    """

    def __init__(self, recipe: Recipe, *, k: int, checkpoint: Path | None = None, device: str = "cpu") -> None:
        self.recipe = recipe
        self.k = k
        self._device = torch.device(device)
        dense = DenseClassifier(recipe.build(checkpoint), recipe.model)
        self.grid, self.class_count, self.consistency = dense.consistency(recipe.input_size)
        if not 1 <= k <= self.class_count:
            raise AnnotateError(
                f"cannot keep the {k} best classes of {recipe.model}: it has {self.class_count}; give a k up to that"
            )
        self._dense = dense.to(self._device).to(memory_format=torch.channels_last)
        self._mean, self._std = (
            torch.tensor(values, device=self._device).view(3, 1, 1) * 255 for values in (recipe.mean, recipe.std)
        )

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> LabelMap:
        """The label maps [n, h, w, k] of n pictures uint8 [H, W, 3] of any sizes.

        A location's probabilities are those of a softmax over all classes; the k largest are kept.
        """
        recipe = self.recipe
        fitted = [
            preprocess(picture, recipe.input_size, recipe.preprocess, interpolation=recipe.interpolation)
            for picture in pictures
        ]
        pixels = torch.from_numpy(np.stack([pixels for pixels, _ in fitted])).to(self._device)
        normalised = (pixels.permute(0, 3, 1, 2).float() - self._mean) / self._std
        logits = self._dense(normalised.contiguous(memory_format=torch.channels_last))
        scores, classes = logits.float().softmax(-1).topk(self.k, dim=-1)
        return LabelMap(
            classes=classes.cpu().numpy().astype(class_dtype(self.class_count)),
            scores=scores.cpu().numpy(),
            boxes=np.array([box.edges for _, box in fitted], np.float32),
            sizes=np.array([picture.shape[:2] for picture in pictures], np.uint32),
            status=np.full(len(pictures), Status.LABELLED, np.uint8),
        )
