"""What is drawn is where the record says, to a fraction of a pixel, and what is not certain is not drawn."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream.drawing import Image, View, draw_people, write_line
from kinestream.messages import Person
from kinestream.skeletons import BLAZEPOSE33, COCO17
from kinestream_consumers.mosaic import Mosaic

NOWHERE = (-1e6, -1e6, -1e6, -1e6)
"""A box that is out of reach, so that only keypoints are drawn."""


def black(width: int = 160, height: int = 120) -> Image:
    return np.zeros((height, width, 3), np.uint8)


def person(*keypoints: tuple[float, float, float], box: View = NOWHERE) -> Person:
    return Person(box=box, score=1.0, keypoints=keypoints)


def body(score: float = 1.0, **scores: float) -> Person:
    """A person of 17 keypoints along a diagonal, with the scores given by name."""
    points = [(10.0 + 8 * i, 8.0 + 6 * i, scores.get(name, score)) for i, name in enumerate(COCO17.names)]
    return person(*points)


def centroid(image: Image) -> tuple[float, float]:
    """The middle of what is bright, corner-based."""
    weight = image.sum(axis=2, dtype=float)
    rows, columns = np.indices(weight.shape)
    total = weight.sum()
    return float((weight * (columns + 0.5)).sum() / total), float((weight * (rows + 0.5)).sum() / total)


@pytest.mark.parametrize("width", [160, 1280])
@pytest.mark.parametrize("x", [60.0, 60.125, 60.3, 60.5, 60.77, 60.999])
def test_a_keypoint_is_drawn_where_it_is(width: int, x: float) -> None:
    image = black(width)
    y = 121.0 - x
    draw_people(image, [person((x, y, 1.0))], "none")
    # An eighth of a pixel is what is drawn at, and antialiasing adds a little.
    assert centroid(image) == pytest.approx((x, y), abs=0.1)


@pytest.mark.parametrize("view", [(0, 0, 1280, 720), (320, 180, 640, 360), (100.5, 0, 401.25, 720)])
def test_an_image_that_shows_a_part_of_the_source(view: View) -> None:
    image = black(640, 360)
    left, top, width, height = view
    x, y = left + 0.37 * width, top + 0.61 * height
    draw_people(image, [person((x, y, 1.0))], "none", view=view)
    assert centroid(image) == pytest.approx((0.37 * 640, 0.61 * 360), abs=0.1)


def test_half_a_picture_away_is_not_drawn() -> None:
    image = black()
    draw_people(image, [person((500.0, 60.0, 1.0))], "none")
    assert not image.any()


@pytest.mark.parametrize("skeleton", ["", "none", "halpe27"])
def test_an_unknown_skeleton_has_points_and_no_limbs(skeleton: str) -> None:
    image = black()
    draw_people(image, [person((40.0, 60.0, 1.0), (120.0, 60.0, 1.0))], skeleton)
    between, at = image[50:70, 60:100], image[60, 40]
    assert at.any()
    assert not between.any()


def test_limbs_join_what_was_seen_in_the_colour_of_their_side() -> None:
    image = black()
    places = {"left_hip": (100, 40), "right_hip": (40, 40), "left_knee": (100, 80), "right_ankle": (40, 110)}
    points = [(*places.get(name, (20, 10)), float(name in places)) for name in COCO17.names]
    draw_people(image, [person(*points)], "coco17")
    blue, green, red = image[60, 100].tolist()
    assert red > green > blue, "the left side is orange"
    assert min(image[40, 70].tolist()) > 100, "between the sides it is white"
    assert not image[60:100, 35:45].any(), "no limb leads over a knee that was not seen"
    assert not image[:30].any(), "nor anywhere else"


def test_a_face_and_a_hand_of_many_points_stay_small() -> None:
    """A blob would hide the face: in BlazePose, eleven points lie where COCO has five."""
    inside = {index: (40.0 + 80 * (index % 2), 60.0, 1.0) for index in BLAZEPOSE33.details}
    for index in (*sorted(BLAZEPOSE33.details), BLAZEPOSE33.index("left_heel")):
        points = [(0.0, 0.0, 0.0)] * 33
        points[index] = inside.get(index, (60.0, 60.0, 1.0))
        image = black(640, 360)
        draw_people(image, [person(*points)], "blazepose33")
        size = image.any(axis=2).sum()
        assert (5 < size < 30) == (index in BLAZEPOSE33.details), BLAZEPOSE33.names[index]


@pytest.mark.parametrize(
    ("names", "colour"),
    [
        (("left_heel", "left_foot_index"), "orange"),
        (("right_heel", "right_foot_index"), "blue"),
        (("right_ankle", "right_foot_index"), "blue"),
        (("left_eye_outer", "left_ear"), "orange"),
        (("nose", "right_eye_inner"), "blue"),
        (("mouth_left", "mouth_right"), "white"),
        (("left_hip", "right_hip"), "white"),
    ],
)
def test_limbs_of_blazepose_have_the_colour_of_their_side(names: tuple[str, str], colour: str) -> None:
    points = [(0.0, 0.0, 0.0)] * 33
    for name, x in zip(names, (40.0, 120.0), strict=True):
        points[BLAZEPOSE33.index(name)] = (x, 60.0, 1.0)
    image = black()
    draw_people(image, [person(*points)], "blazepose33")
    blue, green, red = image[58:62, 80].max(axis=0).tolist()
    drawn = "white" if abs(red - blue) < 30 else "orange" if red > blue else "blue"
    assert max(red, green, blue) > 80, "there is a limb"
    assert drawn == colour


def test_each_point_of_a_mouth_has_the_colour_of_its_side() -> None:
    for name, strongest in (("mouth_left", 2), ("mouth_right", 0), ("left_eye_inner", 2)):
        points = [(0.0, 0.0, 0.0)] * 33
        points[BLAZEPOSE33.index(name)] = (80.0, 60.0, 1.0)
        image = black()
        draw_people(image, [person(*points)], "blazepose33")
        assert image[55:65, 75:85].reshape(-1, 3).max(axis=0).argmax() == strongest, name


def test_low_scores_are_not_drawn() -> None:
    image = black()
    unsure = Person(box=(10, 10, 150, 110), score=0.9, keypoints=body(0.29).keypoints)
    draw_people(image, [unsure], "coco17")
    assert not image.any(), "nor the box of somebody of whom nothing is certain"
    draw_people(image, [unsure], "coco17", threshold=0.29)
    assert image.any()


def test_a_person_without_keypoints_has_a_box() -> None:
    image = black()
    draw_people(image, [person(box=(20.0, 30.0, 100.0, 90.0))], "none")
    drawn = image.any(axis=2)
    assert drawn[40:80, 19:21].any(axis=1).all() and drawn[29:31, 30:90].any(axis=0).all()
    assert not drawn[35:85, 25:95].any()


def test_lines_are_thick_enough_in_small_and_large_pictures() -> None:
    for width, least in ((640, 2), (1280, 4), (1920, 6)):
        image = black(width, 400)
        points = [(0.0, 0.0, 0.0)] * 17
        points[COCO17.index("left_knee")] = (100.0, 200.0, 1.0)
        points[COCO17.index("left_ankle")] = (400.0, 200.0, 1.0)
        draw_people(image, [person(*points)], "coco17")
        bright = (image[:, 250].max(axis=1) > 200).sum()
        assert bright >= least, f"a limb of {bright} pixels at {width}"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_no_position_is_too_far_to_draw(numbers: list[float]) -> None:
    x1, y1, x2, y2, x, y = numbers
    image = black(64, 48)
    draw_people(image, [Person(box=(x1, y1, x2, y2), score=1.0, keypoints=((x, y, 1.0),))], "none")
    assert image.shape == (48, 64, 3)


@pytest.mark.parametrize(
    "text", ["camera-1  12", "a" * 64 + "  1234567  1234.567 s  dropped: no-room", "µ ß …"]
)
@pytest.mark.parametrize("size", [(640, 360), (192, 108), (1920, 1080)])
def test_a_line_of_text_fits_the_picture(text: str, size: tuple[int, int]) -> None:
    image = black(*size)
    write_line(image, text)
    drawn = image.any(axis=2)
    assert drawn[-size[1] // 6 :].any(), "at the bottom"
    assert not drawn[: -size[1] // 4].any(), "and only there"
    assert not drawn[:, -1].any(), "not cut off at the right"
    assert not drawn[-1].any(), "nor at the bottom"


@pytest.mark.parametrize(
    ("cameras", "size"),
    [(1, (1280, 720)), (2, (1280, 360)), (3, (1280, 720)), (9, (1920, 1080)), (30, (1920, 900))],
)
def test_a_mosaic_has_a_tile_for_each_camera(cameras: int, size: tuple[int, int]) -> None:
    names = [f"c{number}" for number in range(cameras)]
    mosaic = Mosaic(names)
    height, width = mosaic.canvas.shape[:2]
    assert (width, height) == size
    for number, name in enumerate(names):
        tile = np.full((mosaic.tile[1], mosaic.tile[0], 3), 50 + 6 * number, np.uint8)
        mosaic.put(name, tile)
    values, counts = np.unique(mosaic.canvas[:, :, 0], return_counts=True)
    seen = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert [seen.get(50 + 6 * number) for number in range(cameras)] == [math.prod(mosaic.tile)] * cameras


def test_a_dimmed_tile_leaves_the_others_alone() -> None:
    mosaic = Mosaic(["left", "right"])
    white = np.full((mosaic.tile[1], mosaic.tile[0], 3), 250, np.uint8)
    mosaic.put("left", white)
    mosaic.put("right", white)
    mosaic.dim("left")
    left, right = np.split(mosaic.canvas, 2, axis=1)
    assert (left == 100).all()
    assert (right == 250).all()


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (64, 48), (1, 5000), (4000, 3)])
def test_an_image_keeps_its_proportions_in_a_tile(size: tuple[int, int]) -> None:
    mosaic = Mosaic(["a", "b"])
    fitted = mosaic.fitted(black(*size))
    height, width = fitted.shape[:2]
    assert width == mosaic.tile[0] or height == mosaic.tile[1]
    assert width / height == pytest.approx(size[0] / size[1], rel=0.02) or min(width, height) == 1
    mosaic.put("b", fitted)


def test_how_much_smaller_an_image_may_be_decoded() -> None:
    mosaic = Mosaic(["a", "b"])
    sizes = {(1280, 720): 2, (3840, 2160): 4, (1281, 720): 1, (640, 360): 1, (1270, 710): 1, (7680, 4320): 8}
    for (width, height), times in sizes.items():
        assert mosaic.reduction(width, height) == times, f"{width}x{height}"
        jpeg = cv2.imencode(".jpg", black(width // times, height // times))[1]
        assert mosaic.fitted(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)).shape[1] <= mosaic.tile[0]
