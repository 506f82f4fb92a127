"""Which student replaces the last stage of a ResNet by visual transformers? VT-ResNet, and its dense answer.

Its published sizes are in published_sizes.py.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn
from torch.utils.checkpoint import checkpoint

from tokenlabel.errors import LabelError
from tokenlabel.mixing.mix import Mix
from tokenlabel.models.visual_transformer.module import VisualTransformer
from tokenlabel.models.visual_transformer.trunk import Features, VisualTokenStudent


class VTResNet(VisualTokenStudent):
    """VT-ResNet (arXiv 2006.03677) as a `Student`: a ResNet of three stages, then visual transformers on its 1/16 map.

    Its first module has filters for tokenizer, later ones make tokens of those before. The picture is classified by the
    mean of the last tokens. The map after the last projector goes to the head for tokens, which is ours: the paper has
    none, and needs no projector in its last module. MixToken swaps places of the map before the first module.

    With `project_last=False` it is the paper's classifier: no token has a place, so that it learns from class labels
    alone, and answers with the logits of the picture in training too.

    Args:
        num_classes: C; 0 for features.
        block: timm's block of the ResNet.
        layers: blocks of each of the three stages.
        channels: channels of each, before the block's expansion.
        modules: number of visual transformers.
        token_count: visual tokens, L.
        token_width: of a visual token; None for the map's channels. Another width needs `value`.
        heads: of attention in transformers and projectors; 1 as in the equations.
        value: whether attention has value matrices; the equations have none.
        project_last: whether the last module has a projector.
        img_size: height and width of its input, pixels; multiples of 16.
        in_chans: channels of its input.
        token_share: part of the best token's logits in the answer, see `combined_logits`.
        drop_rate: of dropout before the head.
        drop_path_rate: of stochastic depth in the ResNet.

    Raises:
        ValueError: a size that is not a multiple of 16; a width that heads do not divide, or that needs a value matrix.
        LabelError: its tokens' grid or logits are asked for, and it has no last projector.
    """

    multiple, stride, mixed = 16, 16, 4

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
        layers: tuple[int, int, int] = (2, 2, 2),
        channels: tuple[int, int, int] = (64, 128, 256),
        modules: int = 2,
        token_count: int = 16,
        token_width: int | None = None,
        heads: int = 1,
        value: bool = False,
        project_last: bool = True,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        token_share: float = 0.5,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__(
            block,
            layers,
            num_classes=0,
            in_chans=in_chans,
            channels=channels,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            **made,
        )
        if modules < 1:
            raise ValueError(f"at least one visual transformer is needed, not {modules}")
        width = self.num_features
        self.project_last = project_last
        self.layer4 = nn.ModuleList(
            VisualTransformer(
                width,
                None if index else token_count,
                width=token_width or width,
                heads=heads,
                value=value,
                project=project_last or index < modules - 1,
                **made,
            )
            for index in range(modules)
        )
        self._finish(num_classes, img_size, token_width or width, width, token_share)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of the map, for pictures of the size that it was made for.

        Raises:
            LabelError: there is no last projector.
        """
        self._needs_places()
        return super().token_grid

    def forward(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """In training mode, the logits of the pictures [b, C] and of their tokens [b, t, C]; else those to classify by.

        Without classes, the mean of the visual tokens. Without a last projector, the logits of the pictures.
        """
        if self.project_last:
            return super().forward(pixels, mix)
        return self.forward_head(self.forward_features(pixels, mix))

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C], row by row.

        Raises:
            LabelError: there is no last projector.
        """
        self._needs_places()
        return super().logits(pixels, mix)

    def forward_head(self, x: Features, pre_logits: bool = False) -> torch.Tensor:
        """The logits to classify by, [b, C]; or with pre_logits, or without classes, the mean of the visual tokens."""
        if self.project_last or pre_logits or not self.num_classes:
            return super().forward_head(x, pre_logits)
        picture: torch.Tensor = self.fc(self._pooled(x[0]))
        return picture

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """New heads for another number of classes; 0 for none."""
        super().reset_classifier(num_classes, global_pool)
        if not self.project_last:
            self.aux_head = nn.Identity()

    def _top(self, stages: list[torch.Tensor]) -> Features:
        last = stages[-1]
        x = last.flatten(2).transpose(1, 2)
        tokens: Any = None
        for module in self.layer4:
            if self.grad_checkpointing:
                x, tokens = checkpoint(module, x, tokens, use_reentrant=False)
            else:
                x, tokens = module(x, tokens)
        return tokens, x.transpose(1, 2).unflatten(2, last.shape[-2:])

    def _needs_places(self) -> None:
        if not self.project_last:
            raise LabelError(
                "this VT-ResNet was made with project_last=False: its visual tokens have no place in the picture, so "
                "that token labels cannot teach them. Make it with project_last=True, or train it on classes alone"
            )
