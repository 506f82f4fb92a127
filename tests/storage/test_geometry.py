"""Is a Box a rectangle, and nothing else?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import Box

edge = st.floats(-1, 2, allow_nan=False)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    top, left = draw(edge), draw(edge)
    return Box(top, left, top + draw(st.floats(0.01, 2)), left + draw(st.floats(0.01, 2)))


@given(boxes(), boxes())
def test_to_inner_undoes_to_outer(outer: Box, inner: Box) -> None:
    assert outer.to_inner(outer.to_outer(inner)).edges == pytest.approx(inner.edges, abs=1e-9)


@given(boxes())
def test_the_whole_picture_changes_no_box(box: Box) -> None:
    assert Box.whole().to_outer(box) == box
    assert box.to_outer(Box.whole()).edges == pytest.approx(box.edges)


@given(boxes())
def test_two_mirrors_are_none(box: Box) -> None:
    assert box.mirrored().mirrored().edges == pytest.approx(box.edges)
    assert box.mirrored().top == box.top


def test_pixels_become_parts_of_their_own_side() -> None:
    assert Box.from_pixels(10, 50, 20, 100, (100, 500)) == Box(0.1, 0.1, 0.3, 0.3)


@pytest.mark.parametrize("edges", [(0, 0, 0, 1), (0, 0, 1, 0), (1, 0, 0, 1), (0, math.nan, 1, 1), (0, 0, math.inf, 1)])
def test_what_has_no_area_is_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="box"):
        Box.from_edges(edges)
