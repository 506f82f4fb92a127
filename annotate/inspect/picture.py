"""What does the picture of a row look like? It is the one that was labelled, or there is a reason why not."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from annotate.decode import decode
from annotate.errors import PictureError
from annotate.images.source import Picture
from storage import LabelMap, LabelStore, Status


def picture_of(store: LabelStore, row: int, label: LabelMap, read: Callable[[str], Picture]) -> Image.Image:
    """The picture that a label is of.

    Args:
        store: of the label.
        row: of the label.
        label: of this one picture.
        read: gives a picture by its key.

    Raises:
        PictureError: it cannot be had, or is not as large as the one that was labelled.
    """
    picture = Image.fromarray(decode(read(store.keys[row]), exif=store.schema.recipe.get("exif", "ignore")))
    if label.sizes.all() and (picture.height, picture.width) != tuple(label.sizes.tolist()):
        raise PictureError(Status.REFUSED, "not the picture that was labelled: it has another size")
    return picture
