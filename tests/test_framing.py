"""Pictures that are turned and cut: what travels, where it belongs, and that joints come back where they were
drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kinestream.errors import UsageError
from kinestream.messages import Frame
from kinestream.region import parse_region
from kinestream.testcard import TestCard, Truth, compare
from kinestream.testcard.truth import PRESENT_JOINTS, marker_radius
from kinestream.video import Image
from kinestream_ingest.encoder import EncodedImage, EncodeError, Encoder
from kinestream_ingest.framing import BLANK, Framing
from kinestream_ingest.sources import SourceFrame
from kinestream_workers.decoding import decode, in_source
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.graphs import graph_path

CARD = TestCard.parse("testcard://?athletes=3&motion=walk&fps=15&size=1280x720&seed=20260&seconds=20")


def mounted(upright: Image, rotate: int) -> Image:
    """What a camera sees of an upright scene whose picture must be turned by `rotate` clockwise."""
    return np.ascontiguousarray(np.rot90(upright, rotate // 90))


def numbered(width: int, height: int) -> Image:
    """A picture each of whose pixels says where it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, (x // 256 + 8 * (y // 256))], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
class TestEachRotation:
    def test_stands_upright(self, rotate: int) -> None:
        upright = numbered(300, 200)
        framed = Framing(rotate=rotate).frame(mounted(upright, rotate))
        assert (framed.picture == upright).all()
        assert (framed.width, framed.height, framed.view) == (300, 200, (0, 0, 300, 200))

    def test_cuts_the_region_of_the_upright_picture(self, rotate: int) -> None:
        upright = numbered(300, 200)
        framing = Framing(parse_region("30,50,100,40"), rotate=rotate)
        for _ in range(2):
            framed = framing.frame(mounted(upright, rotate))
            assert (framed.picture == upright[50:90, 30:130]).all()
            assert (framed.width, framed.height, framed.view) == (300, 200, (30, 50, 100, 40))

    def test_blanks_what_is_outside_of_a_polygon(self, rotate: int) -> None:
        upright = numbered(300, 200)
        seen = mounted(upright, rotate)
        before = seen.copy()
        framing = Framing(parse_region("10,10 110,10 110,110"), rotate=rotate)
        for offset in (0, 7):
            framed = framing.frame(mounted(upright + np.uint8(offset), rotate))
        y, x = np.mgrid[:100, :100] + 0.5
        picture, whole = framed.picture, (upright + np.uint8(7))[10:110, 10:110]
        assert framed.view == (10, 10, 100, 100)
        assert (picture[x > y + 1] == whole[x > y + 1]).all()
        assert (picture[x < y - 1] == BLANK).all()
        assert (seen == before).all(), "the source's picture is left alone"


def test_a_region_that_is_not_in_the_picture_is_told_before_and_after_the_start() -> None:
    framing = Framing(parse_region("0,0,640,700"), rotate=90)
    framing.check(720, 640)
    with pytest.raises(UsageError, match="the upright picture is 720x640"):
        framing.check(640, 720)
    frame = SourceFrame(picture=lambda label: numbered(640, 480), captured_us=0)
    with pytest.raises(EncodeError, match="the upright picture is 480x640") as caught:
        Encoder(framing=framing).encode(frame, "")
    assert caught.value.cause == "region-outside"


def test_a_picture_of_another_size_gets_a_cut_of_its_own() -> None:
    framing = Framing(parse_region("50%,0% 100%,0% 100%,100% 50%,100%"))
    assert framing.frame(numbered(300, 200)).view == (150, 0, 150, 200)
    assert framing.frame(numbered(640, 480)).view == (320, 0, 320, 480)


def test_no_rotation_but_quarter_turns() -> None:
    with pytest.raises(UsageError, match="rotate must be 0, 90, 180 or 270, got 45"):
        Framing(rotate=45)


@pytest.fixture(scope="module")
def read() -> Callable[[EncodedImage], np.ndarray]:
    """Return a function that reads the joints of an encoded image as a worker does."""
    engine = RtmoEngine(graph_path("testcard-dynamic"), EngineOptions(threads=1))
    batch = engine.new_batch(1)

    def joints(image: EncodedImage) -> np.ndarray:
        frame = Frame(
            camera="cam",
            run=1,
            seq=0,
            captured_us=0,
            width=image.width,
            height=image.height,
            view=image.view,
            codec="jpeg",
            data=image.data,
            lane="live",
        )
        engine.fill(batch, 0, decode(frame))
        (people,) = engine.infer(batch, [0])
        return np.array([person.keypoints for person in in_source(people, frame)])

    return joints


HALL = (1920, 1000)
"""The upright picture of a camera that sees more than the card, which hangs at `CORNER`."""

CORNER = (311, 130)


def within(truth: Truth, view: tuple[float, ...]) -> Truth:
    """The truth of what a view of the hall shows: markers that lie whole in it, of athletes of whom enough
    do.
    """
    reach = 1.5 * marker_radius(CARD.width, CARD.height)
    low, high = np.array(view[:2]) + reach, np.add(view[:2], view[2:]) - reach
    joints = truth.joints + CORNER
    inside = truth.visible & (joints > low).all(axis=-1) & (joints < high).all(axis=-1)
    inside &= inside.sum(axis=1, keepdims=True) >= PRESENT_JOINTS + 2
    return replace(truth, joints=joints, visible=inside)


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize(
    ("region", "max_side"),
    [
        # All 1280 pixels wide: the graph that reads the card needs its markers in the size that it knows.
        ("311,130,1280,720", None),
        ("330,90,1280,745", None),
        ("17.1875%,13%,66.66667%,72%", 640),
        ("300,100 1580,100 1580,890 300,890", None),
    ],
)
def test_joints_come_back_where_they_were_drawn(
    read: Callable[[EncodedImage], np.ndarray], region: str, rotate: int, max_side: int | None
) -> None:
    encoder = Encoder(framing=Framing(parse_region(region), rotate=rotate), max_side=max_side)
    errors, missed = [], 0
    for number in range(0, 300, 30):
        at_s = CARD.frame_time(number)
        hall = np.full((HALL[1], HALL[0], 3), 60, np.uint8)
        hall[CORNER[1] : CORNER[1] + CARD.height, CORNER[0] : CORNER[0] + CARD.width] = CARD.draw(at_s)
        picture = mounted(hall, rotate)
        image = encoder.encode(SourceFrame(picture=lambda label, it=picture: it, captured_us=0), "")  # type: ignore[misc]
        assert (image.width, image.height) == HALL
        compared = compare(within(CARD.truth(at_s), image.view), read(image), min_score=0.3)
        errors.append(compared.errors_px)
        missed += compared.missed
        assert compared.invented == 0
    all_errors = np.concatenate(errors)
    # A JPEG's colours have half its resolution: a disc of nine pixels does not always survive that.
    assert missed <= (0 if max_side is None else 0.02 * len(all_errors))
    assert len(all_errors) > 200, "or this shows little"
    assert np.quantile(all_errors, 0.99) <= 1.0
    assert all_errors.max() <= 1.5
