"""Which pictures are meant by a few addresses? Files themselves, and the first pictures of collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from annotate.images.address import open_images
from annotate.images.source import Picture
from annotate.images.sources.folder import FolderReader
from annotate.images.suffixes import is_picture


def first_pictures(addresses: Sequence[str], count: int) -> Iterator[tuple[str, Callable[[], Picture]]]:
    """The key of each picture, and a function that reads it.

    Args:
        addresses: picture files, or collections of pictures as `open_images` takes them.
        count: the most pictures of one collection, its first ones.

    Raises:
        AnnotateError: there is nothing at an address, it is no collection, or a URL. The functions raise PictureError.
    """
    for address in addresses:
        path = Path(address)
        if "://" not in address and is_picture(path.name) and path.is_file():
            yield address, partial(FolderReader(path.absolute().parent).read, path.name)
            continue
        source = open_images(address)
        for key, handle in zip(source.keys[:count], source.handles[:count], strict=True):
            yield key, partial(source.reader.read, handle)
