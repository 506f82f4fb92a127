"""Which students learn from tokens? Each classifies the picture and every token; timm knows them by name."""

import tokenlabel.models.published_sizes  # noqa: F401 timm knows them from now on
from tokenlabel.models.conv_stem import ConvStem
from tokenlabel.models.lvvit import LVViT, combined_logits

__all__ = ["ConvStem", "LVViT", "combined_logits"]
