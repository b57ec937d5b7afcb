"""Regions as people write them: what they stand for in a picture, and what is no region."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream.errors import UsageError
from kinestream.region import bounds, check_rotation, parse_region


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("640,0,640,720", (640, 0, 640, 720)),
        ("0,0,1280,720", (0, 0, 1280, 720)),
        ("50%,0%,50%,100%", (640, 0, 640, 720)),
        ("33.3%,0%,33.4%,100%", (426, 0, 428, 720)),
        ("10.5,20.5,100,100", (10, 20, 101, 101)),
        ("100,700 300,100 500,700", (100, 100, 400, 600)),
        ("10%,90% 40%,20% 60%,20% 90%,90%", (128, 144, 1024, 504)),
        (" 0,0   100,0\t100,100 ", (0, 0, 100, 100)),
    ],
)
def test_the_box_that_is_sent(text: str, box: tuple[int, ...]) -> None:
    assert bounds(parse_region(text).corners(1280, 720)) == box


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a region is a box X,Y,WIDTH,HEIGHT or a polygon"),
        ("1,2,3", "got '1,2,3'"),
        ("0,0,100,100,100", "a region is a box"),
        ("-1,0,100,100", "a region is a box"),
        ("1e3,0,100,100", "a region is a box"),
        ("a,0,100,100", "got 'a,0,100,100'"),
        ("0,0 100,100", "a polygon X,Y X,Y X,Y"),
        ("0,0 100,100 50", "a region is a box"),
        ("0,0,100,100 50,50 60,60", "a region is a box"),
        ("0%,0,100,100", "all in pixels or all in percent, got 0%,0,100,100"),
        ("0,0,15,100", "at least 16x16 pixels, got 0,0,15,100"),
        ("0%,0%,0%,50%", "at least 16x16"),
        ("60%,0%,50%,50%", "reaches beyond 100%"),
        ("0,0 100,100 200,200", "they lie on one line"),
        ("0,0 100,100 100,0 0,100", "or it is crossed"),
    ],
)
def test_what_is_no_region_is_refused_whatever_the_picture(text: str, says: str) -> None:
    with pytest.raises(UsageError, match="region") as caught:
        parse_region(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("640,0,641,720", "it goes to 1281,720, and the upright picture is 1280x720"),
        ("0,0 100,0 100,721", "it goes to 100,721"),
        ("0%,0%,1%,100%", "is 13x720 pixels of the picture of 1280x720, and must be at least 16x16"),
    ],
)
def test_what_does_not_lie_in_the_picture_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_region(text).corners(1280, 720)
    assert says in str(caught.value)


@given(st.integers(0, 3999), st.integers(0, 99), st.integers(16, 4000))
def test_percents_of_whole_pixels_are_those_pixels(width_step: int, percent: int, hundreds: int) -> None:
    width = 100 * (16 + width_step % 40)
    region = parse_region(f"{percent}%,0%,{100 - percent}%,100%")
    assert bounds(region.corners(width, hundreds)) == (
        percent * width // 100,
        0,
        width - percent * width // 100,
        hundreds,
    )


def test_a_rotation_is_a_quarter_turn() -> None:
    assert [check_rotation(degrees) for degrees in (0, 90, 180, 270)] == [0, 90, 180, 270]
    with pytest.raises(UsageError, match="rotate must be 0, 90, 180 or 270, got 45"):
        check_rotation(45)
