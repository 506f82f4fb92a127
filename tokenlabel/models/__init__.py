"""Which students learn from token labels? Each classifies the picture and every token; timm knows them by name."""

# These register names with timm.
import tokenlabel.models.dynamic_vit.published_sizes
import tokenlabel.models.published_sizes
import tokenlabel.models.t2t_vit.published_sizes
import tokenlabel.models.visual_transformer.published_sizes  # noqa: F401
from tokenlabel.models.conv_stem import ConvStem
from tokenlabel.models.dynamic_vit import DynamicViT
from tokenlabel.models.lvvit import LVViT
from tokenlabel.models.student import Student, combined_logits
from tokenlabel.models.t2t_vit import T2TViT
from tokenlabel.models.token_head import TokenHeadStudent, with_token_head
from tokenlabel.models.visual_transformer import VTFPN, VTResNet

__all__ = [
    "VTFPN",
    "ConvStem",
    "DynamicViT",
    "LVViT",
    "Student",
    "T2TViT",
    "TokenHeadStudent",
    "VTResNet",
    "combined_logits",
    "with_token_head",
]
