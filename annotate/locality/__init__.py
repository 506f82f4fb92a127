"""Are labels local: does a location's label depend on what is there, or on the whole picture?"""

from annotate.locality.measure import LEAST, Example, Locality, locality, mosaics_for

__all__ = ["LEAST", "Example", "Locality", "locality", "mosaics_for"]
