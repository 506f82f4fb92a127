"""Which students learn from token labels? Each classifies the picture and every token; timm knows them by name."""

import tokenlabel.models.published_sizes  # noqa: F401 registers them with timm
from tokenlabel.models.conv_stem import ConvStem
from tokenlabel.models.lvvit import LVViT
from tokenlabel.models.student import Student, combined_logits
from tokenlabel.models.token_head import TokenHeadStudent, with_token_head

__all__ = ["ConvStem", "LVViT", "Student", "TokenHeadStudent", "combined_logits", "with_token_head"]
