"""The test card's picture shows what its truth says; and a reading is held against that truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream.testcard import TestCard, Truth, compare
from kinestream.testcard.palette import MIN_BRIGHTNESS, MIN_SATURATION, palette
from kinestream.testcard.truth import MARKER_RADIUS, RING_WIDTH

MOTIONS = ["jump", "squat", "walk"]


class TestPicture:
    def test_colours_are_far_apart_and_saturated(self) -> None:
        colours = palette().reshape(-1, 3).astype(float)
        assert len(colours) == 4 * 17
        apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1000 * np.eye(len(colours))
        assert apart.min() > 54
        assert (colours.max(axis=1) - colours.min(axis=1) >= MIN_SATURATION).all()
        assert (colours.max(axis=1) >= MIN_BRIGHTNESS).all()

    @pytest.mark.parametrize("motion", MOTIONS)
    @pytest.mark.parametrize("size", [(1280, 720), (720, 1280)])
    def test_a_visible_marker_is_whole_and_no_other_is(self, motion: str, size: tuple[int, int]) -> None:
        card = TestCard(motion=motion, width=size[0], height=size[1], seed=13)
        radius = MARKER_RADIUS * max(size)
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        rim = (radius - 2.0) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        hidden = 0
        for t in np.arange(0, 8, 0.4):
            truth, picture = card.truth(t), card.draw(t, caption="cam-1")
            for athlete, joint in np.argwhere(truth.visible):
                pixels = (truth.joints[athlete, joint] + rim).astype(int)
                assert (picture[pixels[:, 1], pixels[:, 0]] == palette()[athlete, joint]).all()
            inside = ((truth.joints > radius) & (truth.joints < np.array(size) - radius)).all(axis=-1)
            for athlete, joint in np.argwhere(inside & ~truth.visible & truth.present[:, None]):
                pixels = (truth.joints[athlete, joint] + rim * radius / (radius - 2.0)).astype(int)
                hidden += 1
                assert (picture[pixels[:, 1], pixels[:, 0]] != palette()[athlete, joint]).any()
        assert hidden > 0

    def test_all_but_the_markers_is_nearly_grey(self) -> None:
        card = TestCard(motion="walk", seed=4)
        for t in (0.0, 1.5, 3.0):
            picture = card.draw(t, caption="cam-1  run 1  seq 2  12:00:00.000").astype(int)
            reach = round((MARKER_RADIUS + RING_WIDTH) * 1280 + 2)
            for x, y in card.truth(t).joints.reshape(-1, 2).astype(int).tolist():
                picture[max(y - reach, 0) : max(y + reach, 0), max(x - reach, 0) : max(x + reach, 0)] = 0
            assert (picture > 0).mean() > 0.9
            assert (picture.max(axis=-1) - picture.min(axis=-1)).max() <= 30

    def test_it_always_says_what_it_is(self) -> None:
        card = TestCard(athletes=1)
        bare, named = card.draw(0.0), card.draw(0.0, caption="cam-1")
        assert bare[20:50, 20:180].max() > 200
        changed = np.argwhere((bare != named).any(axis=-1))
        assert len(changed) > 100
        assert changed[:, 0].max() < 60
        assert changed[:, 1].min() > 180

    @pytest.mark.parametrize("size", ["160x160", "640x480", "333x1001", "4096x160"])
    @pytest.mark.parametrize("motion", MOTIONS)
    def test_it_can_be_drawn_at_any_size(self, size: str, motion: str) -> None:
        card = TestCard.parse(f"testcard://?size={size}&motion={motion}")
        picture = card.draw(1.0, caption="cam-1")
        assert picture.shape == (card.height, card.width, 3)
        assert picture.dtype == np.uint8

    def test_truth_counts_who_is_there(self) -> None:
        card = TestCard(motion="walk", seed=3)
        for t in np.arange(0, 10, 0.25):
            truth = card.truth(t)
            assert (truth.visible.any(axis=1) == truth.present).all()
            assert (truth.in_picture | ~truth.present).all()


class TestCompare:
    truth = TestCard(motion="jump", seed=1).truth(1.0)

    def reading(self, truth: Truth) -> NDArray[np.float64]:
        return np.concatenate([truth.joints, np.ones((4, 17, 1))], axis=-1)

    def test_a_perfect_reading(self) -> None:
        found = compare(self.truth, self.reading(self.truth)[::-1])
        assert (found.missed, found.invented, found.persons) == (0, 0, (3, 2, 1, 0))
        assert len(found.errors_px) == self.truth.visible.sum()
        assert found.errors_px.max() == 0

    def test_a_shift_is_an_error_and_a_low_score_a_miss(self) -> None:
        reading = self.reading(self.truth)
        reading[..., 0] += 3
        reading[..., 1] += 4
        athlete, joint = np.argwhere(self.truth.visible)[0]
        reading[athlete, joint, 2] = 0.1
        found = compare(self.truth, reading)
        assert np.allclose(found.errors_px, 5)
        assert (found.missed, found.invented) == (1, 0)

    def test_people_who_are_not_there_are_invented(self) -> None:
        reading = self.reading(self.truth)
        phantom = np.zeros((1, 17, 3))
        found = compare(self.truth, np.concatenate([reading, reading[:1], phantom]))
        assert (found.missed, found.invented) == (0, 2)

    def test_nobody_read_is_everything_missed(self) -> None:
        found = compare(self.truth, np.zeros((0, 17, 3)))
        assert (found.missed, found.invented) == (self.truth.visible.sum(), 0)
        assert found.persons == (None,) * 4
