"""How do the labels of other tools come into a store, and how do ours go out? As trees of one .pt file a picture."""

from annotate.legacy.exporting import Exported, export_tree
from annotate.legacy.importing import Geometry, Imported, Layout, import_tree

__all__ = ["Exported", "Geometry", "Imported", "Layout", "export_tree", "import_tree"]
