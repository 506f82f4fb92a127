"""How does a person inspect labels? As figures, as pictures, and as pages for a browser."""

from annotate.class_names import Names, read_names
from annotate.inspect.audit import Audit, audit
from annotate.inspect.comparison import Comparison, compare, names_of
from annotate.inspect.comparison_page import comparison_page, comparison_sheet
from annotate.inspect.report import report_page
from annotate.inspect.selection import choose_rows, refuse_strangers
from annotate.inspect.sheet import contact_sheet, strip_of
from annotate.inspect.statistics import Statistics, describe, statistics
from annotate.inspect.survey import Survey, areas, survey
from annotate.inspect.terminal import can_show, half_blocks
from annotate.inspect.unstored.drawing import Labelled, labels_sheet, labels_strip, mosaics_sheet

__all__ = [
    "Audit",
    "Comparison",
    "Labelled",
    "Names",
    "Statistics",
    "Survey",
    "areas",
    "audit",
    "can_show",
    "choose_rows",
    "compare",
    "comparison_page",
    "comparison_sheet",
    "contact_sheet",
    "describe",
    "half_blocks",
    "labels_sheet",
    "labels_strip",
    "mosaics_sheet",
    "names_of",
    "read_names",
    "refuse_strangers",
    "report_page",
    "statistics",
    "strip_of",
    "survey",
]
