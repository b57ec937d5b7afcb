"""The histogram: percentiles within its promise, merging, and forgetting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream.histogram import BOUNDS_MS, Histogram, RecentHistogram


def of(*values: float) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(
    st.lists(st.floats(0.1, 100_000), min_size=1, max_size=300), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0])
)
def test_a_quantile_is_within_a_bucket_of_the_true_one(values: list[float], part: float) -> None:
    lowest = np.quantile(values, part, method="lower")
    highest = np.quantile(values, part, method="higher")
    found = of(*values).quantile(part)
    assert found is not None
    assert lowest / 1.2001 <= found <= highest * 1.2001


def test_many_values_come_closer_than_a_bucket() -> None:
    values = np.random.default_rng(3).lognormal(3, 0.7, 20_000)
    histogram = of(*values)
    for part in (0.5, 0.95, 0.99):
        assert histogram.quantile(part) == pytest.approx(np.quantile(values, part), rel=0.05)


@given(st.lists(st.floats(0.01, 1e6)), st.lists(st.floats(0.01, 1e6)))
def test_merging_is_counting_all(one: list[float], other: list[float]) -> None:
    assert of(*one).merged(of(*other)).counts == of(*one, *other).counts


def test_extremes_are_counted_and_bounded() -> None:
    histogram = of(-5, 0, 1e9, float("inf"))
    assert histogram.total == 4
    assert histogram.quantile(1) == BOUNDS_MS[-1]
    assert of(-5).quantile(0.5) <= BOUNDS_MS[0]
    assert len(BOUNDS_MS) < 80


def test_nothing_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None
    with pytest.raises(ValueError, match="part must be from 0 to 1"):
        Histogram().quantile(1.1)


@pytest.mark.parametrize("counts", [{-1: 1}, {len(BOUNDS_MS) + 1: 1}, {3: -1}])
def test_counts_that_cannot_be(counts: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="there is no bucket"):
        Histogram(counts)


def test_a_recent_histogram_forgets() -> None:
    now = 0.0
    recent = RecentHistogram(10, clock=lambda: now)
    recent.add(1)
    now = 11
    recent.add(2)
    assert recent.read().total == 2, "between one window and two"
    now = 22
    assert recent.read().total == 1
    now = 60
    assert recent.read().total == 0
