"""`kinestream.bench`, its pure parts: which number of cameras comes next, and when it fits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream.bench.search import MOST, NEAR, next_number
from kinestream.bench.trial import judge
from kinestream.messages import PoseResult


def searched(largest: int, guess: int) -> dict[int, bool]:
    """All that is tried on a machine on which exactly `largest` cameras fit."""
    tried: dict[int, bool] = {}
    while (number := next_number(tried, guess)) is not None:
        assert number not in tried
        tried[number] = number <= largest
    return tried


@given(st.integers(0, 2 * MOST), st.integers(-5, 2 * MOST))
def test_the_largest_number_that_fits_is_found_nearly(largest: int, guess: int) -> None:
    tried = searched(largest, guess)
    best = max((number for number, fitted in tried.items() if fitted), default=0)
    wanted = min(largest, MOST)
    assert best <= wanted <= best + max(1, math.ceil(NEAR * best))


def test_a_good_guess_needs_few_tries() -> None:
    assert max(len(searched(largest, round(0.8 * largest))) for largest in range(1, 300)) <= 6


def test_where_not_even_one_fits_the_search_ends_with_one() -> None:
    assert searched(0, 9) == {9: False, 4: False, 2: False, 1: False}


def test_of_contradicting_trials_the_larger_one_that_fitted_is_believed() -> None:
    assert next_number({4: False, 6: True, 7: False}, 1) is None


def record(seq: int, captured_s: float, status: str = "ok", **more: object) -> PoseResult:
    return PoseResult(
        camera="c", run=1, seq=seq, status=status, captured_us=round(captured_s * 1e6), **more,
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_trial_counts_the_frames_that_were_captured_in_its_time() -> None:
    seen = [
        (10.0, record(0, 9.9)),
        (10.15, record(1, 10.1, timings={"inferred": 7.0}, batch=2)),
        (10.35, record(2, 10.2, timings={"inferred": 9.0}, batch=4)),
        (10.41, record(3, 10.4, status="dropped", cause="no-room")),
        (12.5, record(4, 12.0)),
    ]
    trial = judge(3, seen, 10.0, 12.0)
    assert (trial.frames, trial.frames_per_s, trial.lost) == (3, 1.0, pytest.approx(1 / 3))
    assert (trial.p50_ms, trial.p95_ms) == (pytest.approx(150), pytest.approx(150))
    assert (trial.inferred_ms, trial.batch) == (9.0, 3.0)
    assert not trial.fits(200), "a third of the frames had no result"


def test_a_trial_fits_by_its_p95_and_not_without_frames() -> None:
    seen = [(number / 10 + 0.08, record(number, number / 10)) for number in range(20)]
    assert judge(1, seen, 0.0, 2.0).fits(80.1)
    assert not judge(1, seen, 0.0, 2.0).fits(79)
    empty = judge(1, [], 0.0, 2.0)
    assert not empty.fits(1000)
    assert empty.as_dict(1000)["p95_ms"] is None
