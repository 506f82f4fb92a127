"""How does a person look at labels? As text and as pictures."""

from annotate.inspect.sheet import choose_rows, contact_sheet
from annotate.inspect.statistics import Statistics, describe, statistics

__all__ = ["Statistics", "choose_rows", "contact_sheet", "describe", "statistics"]
