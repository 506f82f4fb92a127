"""Which pictures does a stem take? Those whose sides are multiples of its patch."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import PatchEmbed


class Stem(PatchEmbed):
    """What all our stems share: the sizes, which other parts of timm read, and their checks. Not a stem by itself.

    A stem makes pixels [b, 3, H, W] tokens [b, width, H / patch, W / patch], as a map. Of timm's PatchEmbed, which it
    is for timm, it keeps everything but the projection.

    Args:
        img_size: height and width of the pictures.
        patch_size: side of a token, pixels.
        in_chans: channels of the pictures.
        embed_dim: width of a token.
        strict_img_size: whether pictures must have exactly img_size; otherwise any multiple of the patch is accepted.

    Raises:
        ValueError: a size that is not a multiple of the patch.
    """

    img_size: tuple[int, int]
    grid_size: tuple[int, int]

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int],
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        strict_img_size: bool,
        **made: Any,
    ) -> None:
        super().__init__(
            img_size, patch_size, in_chans, embed_dim, flatten=False, strict_img_size=strict_img_size, **made
        )
        del self.proj
        self._check_multiple(self.img_size)

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """Accept pictures of another size from now on.

        Raises:
            ValueError: a size that is not a multiple of the patch; another patch, for which there are no weights.
        """
        if patch_size not in (None, self.patch_size[0], self.patch_size):
            raise ValueError(
                f"the stem was made for patches of {self.patch_size[0]} pixels, and has no weights for others"
            )
        sizes = self._init_img_size(img_size or self.img_size)
        self._check_multiple(sizes[0])
        self.img_size, self.grid_size, self.num_patches = sizes

    def check(self, pixels: torch.Tensor) -> None:
        """Refuse pictures that the stem does not take.

        Raises:
            ValueError: pictures of another size, or of one that is not a multiple of the patch.
        """
        size = tuple(pixels.shape[-2:])
        if self.strict_img_size and size != self.img_size:
            raise ValueError(
                f"pictures of {size[0]}x{size[1]} pixels were given to a model for {self.img_size[0]}x"
                f"{self.img_size[1]}; make it with img_size={size}, or call set_input_size"
            )
        self._check_multiple(size)

    def _check_multiple(self, size: tuple[int, ...]) -> None:
        if any(side % patch for side, patch in zip(size, self.patch_size, strict=True)):
            raise ValueError(
                f"{size[0]}x{size[1]} pixels cannot be divided into patches of {self.patch_size[0]}; give a size whose "
                "sides are multiples of that"
            )
