"""How does any network of timm's become a student? By a second head, for the tokens of its last features.

pixels ──forward_features──▶ map or tokens ─┬─forward_head──▶ logits of the picture [b, C]
                                            └──aux_head─────▶ logits of the tokens [b, t, C]
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from tokenlabel.mixing.mix import Mix
from tokenlabel.models.student import Student, combined_logits


def with_token_head(
    network: nn.Module, *, img_size: int | tuple[int, int] | None = None, token_share: float = 0.5
) -> TokenHeadStudent:
    """A student made of a timm network: its own classifier, and a second linear head on its features before pooling.

    The second head begins at zero, so that the student's first answer is the network's own.

    Args:
        network: with timm's `forward_features` and `forward_head`, whose features are a map or patch tokens; its
            weights are shared, not copied.
        img_size: height and width of the pictures, pixels; None for what the network was made for.
        token_share: part of the best token's logits in the answer, see `combined_logits`.

    Raises:
        ValueError: it is a student already, has no classes, its features are neither map nor patch tokens, or it does
            not take pictures of this size.

    Example:
        >>> import timm
        >>> student = with_token_head(timm.create_model("test_vit", num_classes=10, img_size=64))
        >>> student.token_grid
        (4, 4)
        >>> picture, tokens = student(torch.zeros(2, 3, 64, 64))
        >>> list(picture.shape), list(tokens.shape)
        ([2, 10], [2, 16, 10])
    """
    return TokenHeadStudent(network, img_size=img_size, token_share=token_share)


class TokenHeadStudent(nn.Module):
    """A timm network with a second head for its tokens: what `with_token_head` gives.

    MixToken swaps pixels, in boxes of whole tokens, since the stems of networks differ: for a network of patches that
    is the same as swapping its tokens. The picture's sides must then be multiples of the token grid's.

    Weights of the bare network load too; the head for tokens then begins at zero. `network` is the bare network.

    Args:
        network, img_size, token_share: see `with_token_head`.

    Raises:
        ValueError: see `with_token_head`.
    """

    network: Any  # an nn.Module with timm's forward_features and forward_head
    added_parts = ("aux_head",)

    def __init__(
        self, network: nn.Module, *, img_size: int | tuple[int, int] | None = None, token_share: float = 0.5
    ) -> None:
        super().__init__()
        self.network = network
        if isinstance(network, Student):
            raise ValueError(f"{self._name} is a student already, with a head for its tokens; train it as it is")
        if getattr(network, "num_classes", 0) < 1:
            raise ValueError(f"{self._name} has no classifier; make it with num_classes")
        self.num_classes: int = self.network.num_classes
        self.token_share = token_share
        self.pretrained_cfg: dict[str, Any] = getattr(network, "pretrained_cfg", {})  # timm's transforms read it
        self._channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        # Tokens without a place (class, registers) come first.
        self._prefix: int = getattr(network, "num_prefix_tokens", int(getattr(network, "cls_token", None) is not None))
        self.token_grid, like = self._measured(img_size)
        self.num_features: int = like.shape[-1]
        self.aux_head: nn.Module = _zero_head(like, self.num_classes)
        self.register_state_dict_post_hook(_say_grid)
        self.register_load_state_dict_pre_hook(_take_bare_weights)
        self.register_load_state_dict_pre_hook(_refuse_another_grid)

    def forward(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """In training mode, the logits of the pictures [b, C] and of their tokens [b, t, C]; else those to classify by.

        Without classes, features as the network's own `forward_head` gives them.
        """
        if self.training and self.num_classes:
            return self.logits(pixels, mix)
        return self.forward_head(self.forward_features(pixels, mix))

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C], row by row."""
        features = self.forward_features(pixels, mix)
        tokens: torch.Tensor = self.aux_head(self._tokens(features))
        return self.network.forward_head(features), tokens if mix is None else mix.restored(tokens)

    def forward_features(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor:
        """The network's own features before pooling: a map, or tokens."""
        features: torch.Tensor = self.network.forward_features(pixels if mix is None else mix.tokens(pixels))
        return features

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """The logits to classify by, [b, C]; or with pre_logits, or without classes, what the network pools."""
        if pre_logits or not self.num_classes:
            pooled: torch.Tensor = self.network.forward_head(features, pre_logits=pre_logits)
            return pooled
        tokens = self.aux_head(self._tokens(features))
        return combined_logits(self.network.forward_head(features), tokens, self.token_share)

    def forward_intermediates(self, pixels: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        """Maps between the network's blocks, as the network's own `forward_intermediates` gives them."""
        return self.network.forward_intermediates(pixels, *arguments, **options)

    def get_classifier(self) -> tuple[nn.Module, nn.Module]:
        """The heads of the picture and of the tokens."""
        return self.network.get_classifier(), self.aux_head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """New heads for another number of classes; 0 for none. That of the tokens begins at zero."""
        self.network.reset_classifier(num_classes, *([] if global_pool is None else [global_pool]))
        like = next(self.network.parameters()).new_zeros(self.num_features)
        self.network.to(like)
        self.num_classes = num_classes
        self.aux_head = _zero_head(like, num_classes)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks in the backward pass, to save memory."""
        self.network.set_grad_checkpointing(enable)

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Accept pictures of another size from now on.

        Raises:
            ValueError: the network does not take it.
        """
        if hasattr(self.network, "set_input_size"):
            self.network.set_input_size(img_size=img_size)
        self.token_grid, _ = self._measured(img_size)

    def no_weight_decay(self) -> set[str]:
        """The parameters that the network exempts from weight decay."""
        own: set[str] = getattr(self.network, "no_weight_decay", set)()
        return {f"network.{name}" for name in own}

    def _tokens(self, features: torch.Tensor) -> torch.Tensor:
        """The features of the tokens, row by row: [b, t, D]."""
        if features.ndim == 3:
            return features[:, self._prefix :]
        return features.flatten(1, 2) if self._channels_last else features.flatten(2).transpose(1, 2)

    @property
    def _name(self) -> str:
        architecture = getattr(self.network, "pretrained_cfg", {}).get("architecture")
        return str(architecture or type(self.network).__name__)

    @torch.no_grad()
    def _measured(self, img_size: int | tuple[int, int] | None) -> tuple[tuple[int, int], torch.Tensor]:
        """The token grid for pictures of this size, and features of one picture's tokens, [1, t, D]."""
        size = self._size(img_size)
        modes = {module: module.training for module in self.network.modules()}
        channels: int = getattr(self.network, "in_chans", 3)
        pixels = next(self.network.parameters()).new_zeros(1, channels, *size)
        try:
            features: Any = self.network.eval().forward_features(pixels)
            picture: Any = self.network.forward_head(features)
        except Exception as error:  # networks raise exceptions of many types on an input that does not fit
            raise ValueError(
                f"{self._name} does not take pictures of {size[0]}x{size[1]} pixels: {error}; give the size that it "
                "was made for as img_size, or make it for another"
            ) from error
        finally:
            for module, training in modes.items():
                module.training = training
        if not isinstance(features, torch.Tensor) or features.ndim not in (3, 4):
            raise ValueError(
                f"{self._name} has no single map and no tokens before its head, which a head for tokens needs; take "
                "another network"
            )
        if not isinstance(picture, torch.Tensor) or picture.shape != (1, self.num_classes):
            raise ValueError(f"{self._name} does not give one vector of logits for a picture; make it with its pooling")
        return self._grid(features, size), self._tokens(features)

    def _size(self, img_size: int | tuple[int, int] | None) -> tuple[int, int]:
        if img_size is None:
            img_size = getattr(getattr(self.network, "patch_embed", None), "img_size", None)
        if img_size is None:
            input_size = getattr(self.network, "pretrained_cfg", {}).get("input_size")
            if input_size is None:
                raise ValueError(f"the input size of {self._name} is not known; give img_size")
            img_size = input_size[1:]
        return (img_size, img_size) if isinstance(img_size, int) else (int(img_size[0]), int(img_size[1]))

    def _grid(self, features: torch.Tensor, size: tuple[int, int]) -> tuple[int, int]:
        if features.ndim == 4:
            rows, columns = features.shape[1:3] if self._channels_last else features.shape[2:]
            return int(rows), int(columns)
        count = features.shape[1] - self._prefix
        stages = getattr(self.network, "feature_info", None)
        stride = stages[-1]["reduction"] if stages else math.isqrt(size[0] * size[1] // max(count, 1))
        # Some networks pad the pixels that are left at the edge, others drop them.
        for rows, columns in ([-(-side // stride) for side in size], [side // stride for side in size]):
            if count and rows * columns == count:
                return rows, columns
        raise ValueError(
            f"{self._name} gives {count} tokens for {size[0]}x{size[1]} pixels, which form no grid of {stride} pixels "
            "a token; a head for tokens needs one. Take another size or another network"
        )


def _zero_head(like: torch.Tensor, num_classes: int) -> nn.Module:
    """A linear head for features of this width, device and type, which answers 0 at first."""
    if not num_classes:
        return nn.Identity()
    head = nn.Linear(like.shape[-1], num_classes, device=like.device, dtype=like.dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _take_bare_weights(student: TokenHeadStudent, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """Give weights of the bare network the student's names, and zeros for the head that they lack."""
    bare = list(student.network.state_dict())
    if any(f"{prefix}network.{name}" in state for name in bare) or not any(prefix + name in state for name in bare):
        return
    for name in [name for name in state if name.startswith(prefix)]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)
    for name, value in student.aux_head.state_dict().items():
        state[f"{prefix}aux_head.{name}"] = torch.zeros_like(value)


def _say_grid(student: TokenHeadStudent, state: dict[str, torch.Tensor], prefix: str, metadata: dict[str, Any]) -> None:
    """Note the grid beside the weights: the number of positions alone does not tell 4x9 from 6x6."""
    metadata["grid"] = list(student.token_grid)


def _refuse_another_grid(
    student: TokenHeadStudent,
    state: dict[str, torch.Tensor],
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Refuse positions that are as many but of another grid; a network without positions takes any. A hook before."""
    positions, before = getattr(student.network, "pos_embed", None), metadata.get("grid")
    if positions is None or before is None or tuple(before) == student.token_grid:
        return
    stored = state.get(f"{prefix}network.pos_embed")
    if stored is not None and stored.shape == positions.shape:
        (rows, columns), own = before, student.token_grid
        errors.append(
            f"the positions are of {rows}x{columns} tokens, as many as the {own[0]}x{own[1]} of this student, but in "
            "other places; make the network for the size of picture that it was trained at"
        )
