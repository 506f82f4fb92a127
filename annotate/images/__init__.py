"""Where do pictures come from? From sources with one protocol, chosen by the address."""

from annotate.images.address import by_key, open_images
from annotate.images.source import ImageSource, Picture, PictureReader
from annotate.images.sources.folder import FolderImages, FolderReader

__all__ = ["FolderImages", "FolderReader", "ImageSource", "Picture", "PictureReader", "by_key", "open_images"]
