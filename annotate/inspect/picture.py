"""Which picture belongs to a label? The one that was labelled, or a failure that says why it cannot be shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from annotate.errors import AnnotateError, PictureError
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
    recipe = store.schema.recipe
    pixels = decode(read(store.keys[row]), exif=recipe.get("exif", "ignore"), white=recipe.get("white"))
    picture = Image.fromarray(pixels)
    if label.sizes.all() and (picture.height, picture.width) != tuple(label.sizes.tolist()):
        raise PictureError(Status.REFUSED, "not the picture that was labelled: it has another size")
    return picture


def refuse_strangers(store: LabelStore, rows: Sequence[int], read: Callable[[str], Picture]) -> None:
    """Refuse a collection that has none of these pictures: nothing could be shown but that they are gone.

    Args:
        store, rows: whose pictures are to be shown.
        read: returns a picture by its key.

    Raises:
        AnnotateError: every picture is missing.
    """
    reason = ""
    for row in rows:
        try:
            read(store.keys[row])
        except PictureError as error:
            if error.status != Status.MISSING:
                return
            reason = reason or error.reason
        else:
            return
    raise AnnotateError(
        f"--images has none of the {len(rows):,} pictures to show, such as {store.keys[rows[0]]!r}: {reason}. Give the "
        "collection that was labelled, so that its names are the keys of the store"
    )
