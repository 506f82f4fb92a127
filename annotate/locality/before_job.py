"""May a job begin with this annotator? Its locality is measured once, and labels that are mostly global need a yes."""

from __future__ import annotations

import torch

from annotate.errors import AnnotateError
from annotate.images.source import ImageSource
from annotate.locality.measure import LEAST, Locality, locality, mosaics_for
from annotate.model.annotator import Annotator
from annotate.model.recipe import annotator_of

_SECONDS = 60  # after which no further mosaics are begun: a driver may have no GPU for the network of its workers


def locality_of_job(source: ImageSource, annotator: Annotator, pictures: int) -> Locality:
    """The locality of an annotator's labels, on as many mosaics as a job of so many pictures is worth.

    It is measured on a GPU if this machine has one.
    """
    if torch.cuda.is_available():
        annotator = Annotator(annotator.recipe, k=annotator.k, device="cuda", measured=annotator.provenance)
    return locality(source, annotator, mosaics=mosaics_for(pictures), seconds=_SECONDS)


def refuse_global(found: Locality, annotator: Annotator) -> None:
    """Refuse labels that depend mostly on the whole picture.

    Raises:
        AnnotateError: less than `LEAST` of what tells pictures apart is kept in mosaics.
    """
    if found.is_global:
        raise AnnotateError(
            f"the labels of {annotator_of(annotator.recipe.to_json())} depend mostly on the whole picture, and not on "
            f"what is at their location: its locality on these pictures is {found}, where 0.25 is global, so that less "
            f"than {LEAST:.0%} of what tells a picture from others is left beside them. Look at it with "
            "`annotate locality IMAGES -o mosaics.png`; take another network, or label with --allow-global"
        )
