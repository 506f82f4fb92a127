"""How does a segmenter of Transformers label pictures? By its own map; queries are combined as it does itself.

    semantic    logits of each class at each location
    universal   Σ over queries of softmax(classes)_c · sigmoid(mask): the scores of `post_process_semantic_segmentation`

The class "no object" of a query is left out, so that what no query claims is the label's remainder. Where queries claim
more than all of a location together, the scores are divided by their sum, which leaves their order as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from annotate.model.elsewhere.hf_processor import ANOTHER_SIZE, does_not_answer
from annotate.model.elsewhere.own_function import Scores


class HubSegmenter(nn.Module):
    """A segmenter of Transformers as a `DenseNetwork`, whose map covers its whole input.

    Args:
        model: the network.
        class_names: of its classes, in order.
        is_universal: whether it answers with queries and masks.
    """

    gives: Scores

    def __init__(self, model: Any, class_names: Sequence[str], *, is_universal: bool) -> None:
        super().__init__()
        self.model = model
        self.class_names = tuple(class_names)
        self.gives = "probabilities" if is_universal else "logits"

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The map [b, h, w, classes] of normalised pixels [b, 3, H, W]."""
        try:
            answer: Any = self.model(pixel_values=pixels)
        except torch.OutOfMemoryError:  # of a batch, whatever the size of one picture
            raise
        except Exception as error:  # networks raise exceptions of many types on an input that does not fit
            raise ValueError(f"it {does_not_answer((pixels.shape[2], pixels.shape[3]), error)}") from error
        if self.gives == "logits":
            logits: torch.Tensor = answer.logits.permute(0, 2, 3, 1)
            return _of_the_same_shape(logits, pixels)
        # DETR names its queries' answers otherwise.
        queries = getattr(answer, "class_queries_logits", None)
        masks = getattr(answer, "masks_queries_logits", None)
        classes = (answer.logits if queries is None else queries).float().softmax(-1)[..., :-1]
        shares = (answer.pred_masks if masks is None else masks).float().sigmoid()
        scores = torch.einsum("bqc,bqhw->bhwc", classes, shares)
        return _of_the_same_shape(scores / scores.sum(-1, keepdim=True).clamp_min(1), pixels)


def _of_the_same_shape(answer: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """The map, if it is as wide as its input is: EoMT makes a square of as many patches, whatever their rows were."""
    (h, w), (height, width) = answer.shape[1:3], pixels.shape[2:]
    if not 2 / 3 < (height / h) / (width / w) < 3 / 2:
        raise ValueError(f"its map has {h}x{w} locations, another shape than its input. {ANOTHER_SIZE}")
    return answer
