"""Which student drops tokens on the way, and answers for those that stay? DynamicViT (arXiv 2106.02034)."""

from tokenlabel.models.dynamic_vit.losses import distillation_loss, kept_token_loss, pruning_loss, ratio_loss
from tokenlabel.models.dynamic_vit.network import DynamicViT
from tokenlabel.models.dynamic_vit.pruned import Pruned

__all__ = ["DynamicViT", "Pruned", "distillation_loss", "kept_token_loss", "pruning_loss", "ratio_loss"]
