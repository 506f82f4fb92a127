"""What do both students of visual tokens share? timm's ResNet below, and two heads above.

    visual tokens [b, L, width] ──mean──fc──▶ logits of the picture
    map [b, D, h, w] ──aux_head of each place──▶ logits of the tokens, row by row: what token labels teach

Visual tokens have no place in the picture, so that a dense label reaches them through the map that they are added to.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from timm.models.resnet import ResNet
from torch import nn

from tokenlabel.mixing.mix import Mix
from tokenlabel.models.student import combined_logits

Features = tuple[torch.Tensor, torch.Tensor]


class VisualTokenStudent(ResNet):
    """A ResNet whose last features are visual tokens and a map; the heads, and what timm's users expect. Not a model.

    Any size of picture that is a multiple of `multiple` is accepted; the tokens' grid is that of its map.
    """

    multiple: int  # the sides of pictures
    stride: int  # of the map, pixels
    mixed: int  # the stage before which MixToken swaps: 1 for the stem's map

    def _finish(
        self, num_classes: int, img_size: int | tuple[int, int], width: int, map_width: int, share: float
    ) -> None:
        """Set what is known once the parts are there.

        Args:
            num_classes: C.
            img_size: height and width of the pictures.
            width: of a visual token.
            map_width: channels of the map.
            share: part of the best token's logits in the answer.
        """
        self.set_input_size(img_size)
        self.token_share = share
        self.num_features = self.head_hidden_size = width
        self.map_width = map_width
        self.global_pool = nn.Identity()
        self.feature_info.append({"num_chs": map_width, "reduction": self.stride, "module": "map"})
        self.reset_classifier(num_classes)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Rows and columns of the map, for pictures of the size that it was made for."""
        return self.img_size[0] // self.stride, self.img_size[1] // self.stride

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Say for which size of pictures `token_grid` is.

        Raises:
            ValueError: the sides are not multiples of `multiple`.
        """
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else (int(img_size[0]), int(img_size[1]))
        self._check(self.img_size)

    def forward(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """In training mode, the logits of the pictures [b, C] and of their tokens [b, t, C]; else those to classify by.

        Without classes, the mean of the visual tokens.
        """
        if self.training and self.num_classes:
            return self.logits(pixels, mix)
        return self.forward_head(self.forward_features(pixels, mix))

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C], row by row."""
        visual, places = self.forward_features(pixels, mix)
        tokens: torch.Tensor = self.aux_head(places.flatten(2).transpose(1, 2))
        return self.fc(self._pooled(visual)), tokens if mix is None else mix.restored(tokens)

    def forward_features(self, pixels: torch.Tensor, mix: Mix | None = None) -> Features:
        """The visual tokens [b, L, width] and the map [b, D, h, w]."""
        return self._top(self._stages(pixels, mix))

    def forward_head(self, x: Features, pre_logits: bool = False) -> torch.Tensor:
        """The logits to classify by, [b, C]; or with pre_logits, or without classes, the mean of the visual tokens."""
        visual, places = x
        pooled = self._pooled(visual)
        if pre_logits or not self.num_classes:
            return pooled
        tokens = self.aux_head(places.flatten(2).transpose(1, 2))
        return combined_logits(self.fc(pooled), tokens, self.token_share)

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The maps of the stem, of each stage, and the tokens' map, which is the last; as timm's."""
        if output_fmt != "NCHW":
            raise ValueError(f"maps are given as NCHW alone, not as {output_fmt!r}")
        taken, _last = feature_take_indices(len(self.feature_info), indices)
        stages = self._stages(x, None)
        features = self._top(stages)
        maps = [[*stages, features[1]][index] for index in taken]
        return maps if intermediates_only else (features, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the heads, for timm's `features_only`; all stages stay, since the last map reads all."""
        taken: list[int] = feature_take_indices(len(self.feature_info), indices)[0]
        if prune_head:
            self.reset_classifier(0)
        return taken

    def get_classifier(self, name_only: bool = False) -> Any:
        """The heads of the picture and of the tokens, or their names."""
        return ("fc", "aux_head") if name_only else (self.fc, self.aux_head)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """New heads for another number of classes; 0 for none.

        Raises:
            ValueError: another pooling than the mean of the visual tokens.
        """
        if global_pool not in (None, "avg"):
            raise ValueError(f"visual tokens are pooled by their mean, 'avg', not by {global_pool!r}")
        like = self.conv1.weight
        self.num_classes = num_classes
        made: dict[str, Any] = {"device": like.device, "dtype": like.dtype}
        heads = (self.num_features, self.map_width)
        self.fc, self.aux_head = (
            nn.Linear(width, num_classes, **made) if num_classes else nn.Identity() for width in heads
        )

    def _stages(self, pixels: torch.Tensor, mix: Mix | None) -> list[torch.Tensor]:
        """The maps of the stem and of each stage of ResNet."""
        self._check(tuple(pixels.shape[-2:]))
        x = self.act1(self.bn1(self.conv1(pixels)))
        maps = [x]
        x = self.maxpool(x)
        for number in range(1, len(self.feature_info) - 1):
            if mix is not None and number == self.mixed:
                x = mix.tokens(x)
            stage = getattr(self, f"layer{number}")
            x = checkpoint_seq(stage, x) if self.grad_checkpointing else stage(x)
            maps.append(x)
        if mix is not None and self.mixed == len(maps):
            maps[-1] = mix.tokens(maps[-1])
        return maps

    def _top(self, stages: list[torch.Tensor]) -> Features:
        """Visual tokens and the map, of the maps of stem and stages."""
        raise NotImplementedError

    def _pooled(self, visual: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(visual.mean(1), self.drop_rate, self.training)

    def _check(self, size: tuple[int, ...]) -> None:
        if any(side % self.multiple or side < 1 for side in size):
            raise ValueError(
                f"{size[0]}x{size[1]} pixels cannot be divided into patches of {self.multiple}; give a size whose "
                "sides are multiples of that"
            )
