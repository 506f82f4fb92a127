"""Which student makes its tokens of tokens? T2T-ViT (arXiv 2101.11986)."""

from tokenlabel.models.t2t_vit.network import T2TViT

__all__ = ["T2TViT"]
