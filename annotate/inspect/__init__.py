"""How does a person look at labels? As text and as pictures."""

from annotate.inspect.audit import Audit, audit
from annotate.inspect.choice import choose_rows
from annotate.inspect.comparison import Comparison, compare, comparison_page, comparison_sheet
from annotate.inspect.export import export
from annotate.inspect.names import Names, read_names
from annotate.inspect.report import report
from annotate.inspect.sheet import contact_sheet, strip_of
from annotate.inspect.statistics import Statistics, describe, statistics
from annotate.inspect.survey import Survey, areas, survey
from annotate.inspect.terminal import can_show, half_blocks

__all__ = [
    "Audit",
    "Comparison",
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
    "export",
    "half_blocks",
    "read_names",
    "report",
    "statistics",
    "strip_of",
    "survey",
]
