"""Which frames are taken, and when they are due: decisions on times, tested without waiting for any."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream.errors import UsageError
from kinestream_ingest.pacing import Clock, Thinning


def taken(times: list[float], **how: float) -> list[float]:
    thinning = Thinning(**how)  # type: ignore[arg-type]
    return [time_s for time_s in times if thinning.takes(time_s)]


def steady(fps: float, seconds: float) -> list[float]:
    return [number / fps for number in range(round(fps * seconds))]


class TestThinning:
    def test_takes_everything_unless_told(self) -> None:
        assert taken([0.0, 0.0, 5.0, 1.0]) == [0.0, 0.0, 5.0, 1.0]

    def test_takes_every_nth_beginning_with_the_first(self) -> None:
        assert taken([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], every=3) == [0.0, 3.0, 6.0]

    @pytest.mark.parametrize(("fps", "limit"), [(30, 20), (30, 10), (60, 25), (29.97, 15), (50, 49)])
    def test_keeps_a_lower_rate_on_average(self, fps: float, limit: float) -> None:
        assert len(taken(steady(fps, 20), max_fps=limit)) == pytest.approx(20 * limit, abs=1)

    @pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 60])
    def test_a_limit_at_or_above_the_rate_takes_everything(self, fps: float) -> None:
        assert taken(steady(fps, 10), max_fps=fps) == steady(fps, 10)
        assert taken(steady(fps, 10), max_fps=2 * fps) == steady(fps, 10)

    def test_a_camera_that_jitters_loses_nothing_under_a_limit_of_its_own_rate(self) -> None:
        chance = random.Random(1)
        times = [time_s + chance.uniform(-0.003, 0.003) for time_s in steady(30, 20)]
        assert len(taken(times, max_fps=30)) >= 0.99 * len(times)

    def test_makes_up_for_no_pause(self) -> None:
        times = [0.0, 0.1, *(10 + number / 30 for number in range(30))]
        after = [time_s for time_s in taken(times, max_fps=10) if time_s >= 10]
        assert len(after) == 10
        assert min(later - earlier for earlier, later in pairwise(after)) > 0.06

    def test_goes_on_after_a_clock_was_set_back(self) -> None:
        assert 0.0 in taken([100.0, 100.1, 0.0, 0.1, 0.2], max_fps=10)[1:]

    def test_skips_first_and_limits_then(self) -> None:
        assert len(taken(steady(30, 10), every=3, max_fps=5)) == pytest.approx(50, abs=1)

    @given(st.lists(st.floats(0, 0.5), max_size=200), st.floats(0.5, 100), st.integers(1, 5))
    def test_never_takes_more_than_it_may(self, steps: list[float], limit: float, every: int) -> None:
        times = [sum(steps[:number]) for number in range(len(steps))]
        got = taken(times, max_fps=limit, every=every)
        assert len(got) <= -(-len(times) // every)
        if got:
            assert len(got) <= (got[-1] - got[0]) * limit + 1.26  # a quarter of an interval early is on time

    @pytest.mark.parametrize(
        "how", [{"every": 0}, {"max_fps": 0}, {"max_fps": -1}, {"max_fps": float("nan")}]
    )
    def test_refuses_impossible_numbers(self, how: dict[str, float]) -> None:
        with pytest.raises(UsageError, match="must be"):
            taken([], **how)


class TestClock:
    def test_waits_by_real_time_from_the_first_call_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now, waits = [1000.0], []
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        clock = Clock()
        monkeypatch.setattr(clock._stopped, "wait", waits.append)
        assert clock.wait_until(1.4) == 0  # a recording whose own clock begins at 1.4 s
        assert waits == pytest.approx([0.0] * len(waits), abs=1e-9)
        waits.clear()
        now[0] = 1000.01
        assert clock.wait_until(1.45) == 0
        assert waits == pytest.approx([0.04])
        now[0] = 1000.3
        assert clock.wait_until(1.5) == pytest.approx(0.2)
        assert len(waits) == 1

    def test_stop_ends_a_wait(self) -> None:
        clock = Clock()
        clock.wait_until(0)
        clock.stop()
        clock.wait_until(3600)  # the timeout of the test says that this returned
        assert clock.stopped
