"""Which students learn from tokens? Each answers for the picture and for every token; timm knows them by name."""

from tokenlabel.models.conv_stem import ConvStem
from tokenlabel.models.lvvit import LVViT

__all__ = ["ConvStem", "LVViT"]
