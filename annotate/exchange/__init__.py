"""How are labels imported from other tools, and exported to them? As trees of .pt files, and as masks."""

from annotate.exchange.export_tree import Exported, export_tree
from annotate.exchange.import_tree import Imported, TreeGeometry, TreeLayout, import_tree
from annotate.exchange.masks import MaskFormat, export_masks

__all__ = [
    "Exported",
    "Imported",
    "MaskFormat",
    "TreeGeometry",
    "TreeLayout",
    "export_masks",
    "export_tree",
    "import_tree",
]
