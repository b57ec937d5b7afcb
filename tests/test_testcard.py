"""The test card: its URL, its motions, and the events in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream.errors import SourceError
from kinestream.skeletons import COCO17
from kinestream.testcard import GRAVITY, LANDING, REP, TAKE_OFF, TestCard

HIPS = [COCO17.index("left_hip"), COCO17.index("right_hip")]
LEFT_ANKLE = COCO17.index("left_ankle")
MOTIONS = ["jump", "squat", "walk"]


def hip_heights(card: TestCard, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights of the middle of the hips over the bottom of the picture, in pixels: (athletes, times)."""
    return np.array([card.height - card.truth(t).joints[:, HIPS, 1].mean(axis=1) for t in times]).T


class TestUrl:
    def test_every_option(self) -> None:
        url = "testcard://?athletes=3&motion=walk&fps=25&size=1920x1080&seed=11&seconds=12.5&loop=2&crossing=close"
        assert TestCard.parse(url) == TestCard(
            athletes=3,
            motion="walk",
            fps=25,
            width=1920,
            height=1080,
            seed=11,
            seconds=12.5,
            loop=2,
            crossing="close",
        )

    def test_no_option_is_the_default_card(self) -> None:
        assert TestCard.parse("testcard://") == TestCard.parse("testcard:") == TestCard()

    def test_seconds_may_say_their_unit(self) -> None:
        assert TestCard.parse("testcard://?loop=2s&seconds=10s") == TestCard(loop=2, seconds=10)

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("athletes=5", "athletes must be 1 to 4, got 5"),
            ("athletes=many", "athletes must be 1 to 4, got 'many'"),
            ("motion=swim", "motion must be jump or squat or walk, got swim"),
            ("fps=0", "fps must be more than 0 and at most 240, got 0"),
            ("fps=nan", "fps must be more than 0 and at most 240, got nan"),
            ("size=big", "size must be WxH, each side 160 to 4096, got 'big'"),
            ("size=10x10", "size must be WxH, each side 160 to 4096, got 10x10"),
            ("seed=-1", "seed must be a whole number from 0, got -1"),
            ("seconds=0", "seconds must be a number of seconds, more than 0, got '0'"),
            ("loop=0.01", "loop must be a whole number of frames at fps=30, got 0.01"),
            ("crossing=far", "crossing must be close, got far"),
            ("crossing=close", "crossing must be used with motion=walk, got motion=jump"),
            ("players=4", "unknown test card option 'players'; known are athletes, motion, fps, size, seed"),
            ("seed=1&seed=2", "seed is given twice"),
            ("size=640x480&size=640x480", "size is given twice"),
            ("athletes", "athletes must be 1 to 4, got ''"),
        ],
    )
    def test_a_mistake_is_one_line_that_says_what_is_allowed(self, query: str, says: str) -> None:
        with pytest.raises(SourceError) as caught:
            TestCard.parse(f"testcard://?{query}")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["testcard://walk", "testcard://host/?seed=1", "testcards://", "testcard://[?a"]
    )
    def test_no_other_url_is_a_test_card(self, url: str) -> None:
        with pytest.raises(SourceError, match=r"URL is testcard://\?option=value"):
            TestCard.parse(url)


class TestTime:
    def test_frames_follow_the_frame_rate(self) -> None:
        card = TestCard(fps=25, seconds=4, loop=2)
        assert (card.frames, card.loop_frames) == (100, 50)
        assert [card.frame_time(index) for index in (0, 1, 50)] == [0.0, 0.04, 2.0]
        assert (TestCard().frames, TestCard().loop_frames) == (None, None)

    @pytest.mark.parametrize("motion", MOTIONS)
    def test_truth_is_a_function_of_options_and_time(self, motion: str) -> None:
        card, same, other = (TestCard(motion=motion, seed=seed) for seed in (3, 3, 4))
        later = card.truth(2.5)
        card.truth(0.1)
        assert (same.truth(2.5).joints == later.joints).all()
        assert (same.truth(2.5).visible == later.visible).all()
        assert (other.truth(2.5).joints != later.joints).any()

    @pytest.mark.parametrize("motion", MOTIONS)
    def test_a_loop_repeats_pictures_and_truth_exactly(self, motion: str) -> None:
        # 0.1 s are three frames; 9 frames later, 0.3 % 0.1 is not 0 in floating point.
        card = TestCard(motion=motion, loop=0.1, width=640, height=360)
        for index in range(9):
            first, again = (card.frame_time(i) for i in (index % 3, index))
            assert (card.truth(first).joints == card.truth(again).joints).all()
            assert (card.draw(first) == card.draw(again)).all()

    @pytest.mark.parametrize("motion", ["jump", "squat"])
    def test_two_seconds_are_a_seamless_loop(self, motion: str) -> None:
        card = TestCard(motion=motion)
        assert np.allclose(card.truth(0.7).joints, card.truth(2.7).joints, atol=1e-6)


class TestMotion:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_a_jump_rises_as_its_flight_time_says(self, seed: int) -> None:
        """A free fall, and nothing else, between take-off and landing, of height g·T²/8."""
        card = TestCard(athletes=4, motion="jump", seed=seed, seconds=6)
        events = card.events()
        assert [event.kind for event in events].count(TAKE_OFF) in range(8, 13)
        for up in (event for event in events if event.kind == TAKE_OFF):
            downs = [
                e for e in events if e.kind == LANDING and e.athlete == up.athlete and e.time_s > up.time_s
            ]
            if not downs:
                continue
            flight = downs[0].time_s - up.time_s
            assert up.flight_s == downs[0].flight_s == pytest.approx(flight)
            assert up.height_m == pytest.approx(GRAVITY * flight**2 / 8)

            times = up.time_s + np.linspace(0, flight, 41)
            heights = hip_heights(card, times)[up.athlete]
            bend = np.diff(heights, 2) / (times[1] - times[0]) ** 2
            assert np.allclose(bend, bend[0], rtol=1e-3)
            metre = -bend[0] / GRAVITY  # in pixels: gravity is the picture's yardstick
            assert heights.max() - heights[0] == pytest.approx(up.height_m * metre, rel=1e-2)
            assert heights[0] == pytest.approx(heights[-1], abs=1e-3)
            # On the ground something else than gravity acts at once.
            for outside in (up.time_s - 0.03, downs[0].time_s + 0.01):
                around = hip_heights(card, outside + np.array([0, 0.01, 0.02]))[up.athlete]
                assert abs(np.diff(around, 2)[0] / 1e-4 / bend[0] - 1) > 0.2

    def test_a_squat_is_deepest_when_a_repetition_is_counted(self) -> None:
        card = TestCard(athletes=3, motion="squat", seed=5, seconds=10)
        times = np.arange(0, 10, 1 / 60)
        for athlete, heights in enumerate(hip_heights(card, times)):
            reps = [event.time_s for event in card.events() if event.athlete == athlete]
            assert {event.kind for event in card.events()} == {REP}
            assert len(reps) == 5
            deepest = np.flatnonzero((heights[1:-1] < heights[:-2]) & (heights[1:-1] < heights[2:])) + 1
            inner = [time for time in reps if 0.02 < time < 9.97]
            assert np.allclose(times[deepest], inner, atol=0.02)

    def test_walkers_cross_leave_and_come_back(self) -> None:
        card = TestCard(motion="walk", seed=1)
        truths = [card.truth(t) for t in np.arange(0, 40, 0.2)]
        there = np.array([truth.in_picture for truth in truths])
        comings = ((~there[:-1]) & there[1:]).sum(axis=0)
        assert (comings >= 2).all()
        across = np.array([truth.joints[:, HIPS, 0].mean(axis=1) for truth in truths])
        both = there[:, 0] & there[:, 1]
        ahead = np.sign(across[both, 0] - across[both, 1])
        assert (np.diff(ahead) != 0).any(), "athletes 0 and 1 never crossed"
        assert card.events(20) == []

    def test_a_foot_on_the_ground_does_not_slide(self) -> None:
        card = TestCard(athletes=1, motion="walk", seed=2)
        x = np.array([card.truth(t).joints[0, LEFT_ANKLE, 0] for t in np.arange(0, 3.3, 0.01)])
        still = np.abs(np.diff(x)) < 0.01
        assert still.mean() > 0.5
        assert np.abs(np.diff(x)).max() > 2

    def test_motion_is_smooth(self) -> None:
        for motion in ("jump", "squat"):
            card = TestCard(motion=motion, seed=6)
            joints = np.array([card.truth(t).joints for t in np.arange(0, 2.1, 0.005)])
            # Nothing leaps: at 12 m/s, faster than any joint here, it would be 16 pixels in five ms.
            assert 1 < np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 16


class TestEvents:
    def test_an_endless_card_must_be_told_until_when(self) -> None:
        with pytest.raises(SourceError, match="until when"):
            TestCard().events()
        assert TestCard().events(3.0) == TestCard(seconds=3).events()

    def test_they_repeat_with_the_loop(self) -> None:
        plain, looped = TestCard(seconds=8), TestCard(seconds=8, loop=2)
        assert len(plain.events()) == len(looped.events()) == 4 * 2 * 4
        for one, other in zip(plain.events(), looped.events(), strict=True):
            assert one == replace(other, time_s=one.time_s)
            assert one.time_s == pytest.approx(other.time_s)

    def test_they_are_in_order_of_time_and_end_in_time(self) -> None:
        times = [event.time_s for event in TestCard(seed=9).events(5.0)]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] < 5
