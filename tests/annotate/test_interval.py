"""Are intervals those of the textbooks?"""

from __future__ import annotations

import numpy as np
import pytest

from annotate.interval import of_fraction, reach


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.706), (3, 4.303), (7, 2.447), (31, 2.042)])
def test_the_mean_of_a_few_values_has_students_interval(count: int, quantile: float) -> None:
    values = np.arange(count, dtype=float)
    expected = quantile * values.std(ddof=1) / count**0.5
    assert reach(values) == pytest.approx(expected, rel=6e-3)


@pytest.mark.parametrize(("part", "low", "high"), [(8, 0.4902, 0.9433), (10, 0.7225, 1.0), (0, 0.0, 0.2775)])
def test_a_fraction_of_ten_has_wilsons_interval(part: int, low: float, high: float) -> None:
    assert of_fraction(part / 10, 10) == pytest.approx((low, high), abs=1e-3)
