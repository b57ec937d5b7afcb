"""Squares cover a long picture, nobody has two owners, and whoever fits is whole in the owner's square."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream_workers.engines.squares import MAX_RATIO, MIN_RATIO, squares

SIZES = st.tuples(st.integers(1, 8000), st.integers(1, 8000))


@pytest.mark.parametrize(
    ("size", "count"),
    [((640, 480), 0), ((641, 641), 0), ((950, 641), 0), ((1200, 800), 2), ((1920, 1080), 3),
     ((1080, 1920), 3), ((3840, 1080), 7), ((1, 1), 0), ((5000, 1), 0), ((1, 5000), 0)],
)  # fmt: skip
def test_how_many_squares_a_picture_has(size: tuple[int, int], count: int) -> None:
    assert len(squares(*size)) == count


@given(SIZES)
def test_they_lie_in_the_picture_and_cover_it(size: tuple[int, int]) -> None:
    width, height = size
    found = squares(width, height)
    side, length = sorted(size)
    assert bool(found) == (MIN_RATIO <= length / side <= MAX_RATIO)
    if not found:
        return
    assert all(square.side == side and square.x + side <= width for square in found)
    assert all(min(square.x, square.y) >= 0 and square.y + side <= height for square in found)
    starts = [max(square.x, square.y) for square in found]
    assert starts[0] == 0 and starts[-1] == length - side
    assert all(b - a <= side / 2 + 1 for a, b in pairwise(starts)), "half overlaps"


@given(SIZES, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_who_fits_is_whole_in_the_one_square_that_owns_the_middle(
    size: tuple[int, int], along: float, across: float, length: float
) -> None:
    width, height = size
    found = squares(width, height)
    if not found:
        return
    half = length * found[0].fits / 2
    longer = max(size)
    middle = half + along * (longer - 2 * half)
    x, y = (middle, across * height) if width > height else (across * width, middle)
    (owner,) = [square for square in found if square.owns(x, y)]
    start = max(owner.x, owner.y)
    slack = 1.5  # starts and owned parts are rounded
    assert start - slack <= middle - half and middle + half <= start + owner.side + slack


def test_a_point_beyond_the_edge_has_an_owner_too() -> None:
    found = squares(1920, 1080)
    assert [square.owns(-50.0, 2000.0) for square in found] == [True, False, False]
    assert [square.owns(1970.0, -3.0) for square in found] == [False, False, True]
