"""Which students learn from token labels? Each classifies the picture and every token; timm knows them by name."""

import tokenlabel.models.published_sizes  # noqa: F401 registers them with timm
from tokenlabel.models.conv_stem import ConvStem
from tokenlabel.models.lvvit import LVViT, combined_logits

__all__ = ["ConvStem", "LVViT", "combined_logits"]
