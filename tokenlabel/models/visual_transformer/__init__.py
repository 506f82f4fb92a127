"""Which students gather a map into a few visual tokens? VT-ResNet and VT-FPN (arXiv 2006.03677)."""

from tokenlabel.models.visual_transformer.fpn import VTFPN
from tokenlabel.models.visual_transformer.network import VTResNet

__all__ = ["VTFPN", "VTResNet"]
