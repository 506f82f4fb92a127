"""Are labels local: does a location's label depend on what is there, or on the whole picture?"""

from annotate.locality.before_job import locality_of_job, recorded_locality, refuse_global
from annotate.locality.measure import LEAST, Example, Locality, locality, mosaics_for

__all__ = [
    "LEAST",
    "Example",
    "Locality",
    "locality",
    "locality_of_job",
    "mosaics_for",
    "recorded_locality",
    "refuse_global",
]
