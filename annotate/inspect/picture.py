"""Which picture belongs to a label? The one that was labelled, or a failure that says why it cannot be shown."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from annotate.errors import PictureError
from annotate.images.decode import decode
from annotate.images.source import Picture
from storage import LabelMap, LabelStore, Status


def picture_of(store: LabelStore, row: int, label: LabelMap, read: Callable[[str], Picture]) -> Image.Image:
    """The picture that a label describes.

    Args:
        store: the store that holds the label.
        row: the label's row in it.
        label: the label of this one picture.
        read: returns a picture by its key.

    Raises:
        PictureError: it cannot be read, or its size differs from that of the picture that was labelled.
    """
    picture = Image.fromarray(decode(read(store.keys[row]), exif=store.schema.recipe.get("exif", "ignore")))
    if label.sizes.all() and (picture.height, picture.width) != tuple(label.sizes.tolist()):
        raise PictureError(Status.REFUSED, "not the picture that was labelled: it has another size")
    return picture
