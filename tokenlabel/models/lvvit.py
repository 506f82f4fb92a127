"""What is the student of the paper? A vision transformer with a convolution stem and a second head for its tokens.

LV-ViT (arXiv 2104.10858, section 3): a stem of three convolutions and a projection, a class token, residual branches
divided by λ, and two linear heads after the last norm: one for the class token, one for every patch token.
"""

from __future__ import annotations

import torch
from timm.layers import Attention, Mlp, trunc_normal_
from torch import nn

from tokenlabel.mix import Mix

# PyTorch's own epsilon, not timm's 1e-6: the published weights were trained with it.
_EPSILON = 1e-5


class ConvStem(nn.Module):
    """Pixels [b, 3, H, W] -> tokens [b, width, H / patch, W / patch]."""

    def __init__(self, width: int, patch: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, hidden, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(hidden)
        self.proj = nn.Conv2d(hidden, width, patch // 2, stride=patch // 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens as a map."""
        x = self.bn1(self.conv1(pixels)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).relu()
        tokens: torch.Tensor = self.proj(x)
        return tokens


class Block(nn.Module):
    """x + attention(norm(x)) / λ, then x + mlp(norm(x)) / λ."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, residual_divisor: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, num_heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.residual_divisor = residual_divisor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens to tokens [b, n, width]."""
        x = x + self.attn(self.norm1(x)) / self.residual_divisor
        return x + self.mlp(self.norm2(x)) / self.residual_divisor


class LVViT(nn.Module):
    """A student that answers for the picture and for each token.

    Args:
        num_classes: C.
        img_size: height and width of its input, pixels; multiples of the patch.
        patch_size: side of a token, pixels; even.
        embed_dim, depth, num_heads, mlp_ratio: of the transformer.
        stem_dim: channels of the stem.
        residual_divisor: the paper's λ.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        img_size: tuple[int, int] = (224, 224),
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 16,
        num_heads: int = 6,
        mlp_ratio: float = 3.0,
        stem_dim: int = 64,
        residual_divisor: float = 2.0,
    ) -> None:
        super().__init__()
        if img_size[0] % patch_size or img_size[1] % patch_size or patch_size % 2:
            raise ValueError(f"the input {img_size} must be a multiple of the patch {patch_size}, and that even")
        self.tokens = img_size[0] // patch_size, img_size[1] // patch_size
        self.patch_embed = ConvStem(embed_dim, patch_size, stem_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.tokens[0] * self.tokens[1], embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, mlp_ratio, residual_divisor) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=_EPSILON)
        self.head = nn.Linear(embed_dim, num_classes)
        self.aux_head = nn.Linear(embed_dim, num_classes)
        self.apply(_initialise)
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of their tokens [b, t, C], row by row.

        With MixToken (section 3.2) a batch's tokens are mixed after the stem, and the answers of swapped tokens given
        back to their own pictures: `mix` says which.
        """
        tokens = self.patch_embed(pixels)
        if mix is not None:
            tokens = mix.tokens(tokens)
        tokens = tokens.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        of_tokens: torch.Tensor = self.aux_head(x[:, 1:])
        return self.head(x[:, 0]), of_tokens if mix is None else mix.restored(of_tokens)

    @torch.inference_mode()
    def predict(self, pixels: torch.Tensor) -> torch.Tensor:
        """The logits to classify by [b, C]: of the picture, and half of the largest that any token gives."""
        picture, tokens = self(pixels)
        answer: torch.Tensor = picture + 0.5 * tokens.amax(1)
        return answer


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
