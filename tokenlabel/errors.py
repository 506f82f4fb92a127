"""Which error says that labels do not fit pictures or model? One class to catch."""

from __future__ import annotations


class LabelError(ValueError):
    """Labels and pictures, or labels and model, do not belong together; the message says what to do."""
