"""How far is a crop's target, read from the whole picture's label, from the annotator's own answer on the crop?"""

from annotate.fidelity.annotator import annotator_of_store
from annotate.fidelity.curve import Line, curve
from annotate.fidelity.figures import AtSize, Closeness, Fidelity
from annotate.fidelity.measure import AREAS, fidelity
from annotate.fidelity.scales import PICTURES, SCALES, Worth, worth_of_scales

__all__ = [
    "AREAS",
    "PICTURES",
    "SCALES",
    "AtSize",
    "Closeness",
    "Fidelity",
    "Line",
    "Worth",
    "annotator_of_store",
    "curve",
    "fidelity",
    "worth_of_scales",
]
