"""The estimator's own drawing: the picture that was given stays as it is, and each skeleton is known.

Not for: where lines are drawn (see `test_drawing.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from kinestream.drawing import draw_people
from kinestream.messages import Person
from kinestream.skeletons import SKELETONS
from kinestream.testcard import TestCard
from kinestream_workers import Estimate, RealTimePoseEstimator
from oddengine import Image, blank

CARD = TestCard(athletes=4, motion="walk", seed=4711)


@pytest.fixture(scope="module")
def testcard() -> Iterator[RealTimePoseEstimator]:
    """An estimator that reads test cards."""
    with RealTimePoseEstimator("testcard", device="cpu", threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def image() -> Image:
    """A test card with people on it."""
    return CARD.draw(1.0)


def drawn_by_hand(image: Image, result: Estimate, threshold: float) -> Image:
    drawn = image.copy()
    draw_people(drawn, result.people, result.skeleton, threshold=threshold)
    return drawn


@pytest.mark.parametrize("threshold", [0.3, 0.6, 1.1])
def test_drawing_leaves_the_picture_alone(
    testcard: RealTimePoseEstimator, image: Image, threshold: float
) -> None:
    before = image.copy()
    result = testcard.process_frame(image)
    drawn = testcard.draw_skeleton(image, result, threshold)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(drawn, drawn_by_hand(image, result, threshold))
    assert (drawn != image).any() == (threshold < 1)
    here = image.copy()
    assert testcard.draw_skeleton(here, result, threshold, in_place=True) is here
    np.testing.assert_array_equal(here, drawn)


def test_drawing_on_a_picture_of_another_size(testcard: RealTimePoseEstimator, image: Image) -> None:
    result = testcard.process_frame(image)
    half = testcard.draw_skeleton(blank(640, 360), result)
    moved = [
        dataclasses.replace(
            person,
            box=tuple(number / 2 for number in person.box),
            keypoints=tuple((x / 2, y / 2, score) for x, y, score in person.keypoints),
        )
        for person in result.people
    ]
    expected = blank(640, 360)
    draw_people(expected, moved, result.skeleton)
    np.testing.assert_array_equal(half, expected)


@pytest.mark.parametrize("skeleton", ["coco17", "halpe26", "blazepose33"])
def test_drawing_knows_the_limbs(testcard: RealTimePoseEstimator, skeleton: str) -> None:
    if skeleton not in SKELETONS:
        pytest.skip(f"{skeleton} is not among the skeletons yet")
    known = SKELETONS[skeleton]
    ends = (known.index("left_hip"), known.index("left_knee"))
    points = [(0.0, 0.0, 0.0)] * len(known.names)
    points[ends[0]], points[ends[1]] = (100.0, 50.0, 1.0), (100.0, 150.0, 1.0)
    someone = Person(box=(0.0, 0.0, 0.0, 0.0), score=1.0, keypoints=tuple(points))
    nobody = testcard.process_frame(blank(200, 200))
    drawn = testcard.draw_skeleton(
        blank(200, 200), dataclasses.replace(nobody, people=(someone,), skeleton=skeleton)
    )
    blue, green, red = drawn[100, 100].tolist()
    assert red > green > blue, "halfway between hip and knee there is a limb in the left side's colour"
