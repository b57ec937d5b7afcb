"""The measured rate and the jitter are those of the last seconds, whatever clocks do."""

from __future__ import annotations

import pytest

from kinestream_ingest.rhythm import WINDOW_S, Rhythm


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _noted(*captured_ms: float) -> Rhythm:
    rhythm = Rhythm(Clock())
    for one in captured_ms:
        rhythm.note(int(1000 * one))
    return rhythm


def test_nothing_is_known_of_too_few() -> None:
    for rhythm in (_noted(), _noted(0), _noted(0, 40), _noted(5, 5, 5)):
        assert (rhythm.fps, rhythm.jitter_ms) == (None, None)


def test_an_even_camera() -> None:
    rhythm = _noted(*range(0, 4000, 40))
    assert rhythm.fps == pytest.approx(25)
    assert rhythm.jitter_ms == pytest.approx(0)


def test_an_uneven_one() -> None:
    rhythm = _noted(0, 30, 80, 110, 160)  # 30, 50, 30, 50: 10 from the mean each
    assert rhythm.fps == pytest.approx(25)
    assert rhythm.jitter_ms == pytest.approx(10)


def test_only_the_last_seconds_count() -> None:
    rhythm = _noted(*range(0, 10_000, 20), *range(10_000, int(10_000 + 1000 * WINDOW_S) + 200, 100))
    assert rhythm.fps == pytest.approx(10)


def test_a_clock_that_is_set_back_begins_anew() -> None:
    rhythm = _noted(*range(100_000, 101_000, 40), 0, 40, 80)
    assert rhythm.fps == pytest.approx(25)


def test_a_new_connection_begins_anew() -> None:
    rhythm = _noted(*range(0, 1000, 40))
    rhythm.begin()
    assert rhythm.fps is None
    assert rhythm.ago_s == 0  # that there was a picture is still known


def test_since_the_last_picture() -> None:
    clock = Clock()
    rhythm = Rhythm(clock)
    assert rhythm.ago_s is None
    rhythm.note(0)
    clock.now += 0.5
    rhythm.note(500_000)
    clock.now += 2
    assert (rhythm.ago_s, rhythm.usual_s) == (2, 0.5)
