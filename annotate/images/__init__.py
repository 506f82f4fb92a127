"""Where do pictures come from? Sources behind one protocol, picked by address."""

from annotate.images.address import by_key, open_images
from annotate.images.folder import FolderImages, FolderReader
from annotate.images.source import ImageSource, Picture, PictureReader

__all__ = ["FolderImages", "FolderReader", "ImageSource", "Picture", "PictureReader", "by_key", "open_images"]
