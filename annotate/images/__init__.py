"""Where do pictures come from? Sources behind one protocol."""

from annotate.images.folder import FolderImages, FolderReader
from annotate.images.source import ImageSource, PictureReader

__all__ = ["FolderImages", "FolderReader", "ImageSource", "PictureReader"]
