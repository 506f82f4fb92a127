"""Which students learn from tokens? Each answers for the picture and for every token."""

from tokenlabel.models.lvvit import LVViT

__all__ = ["LVViT"]
