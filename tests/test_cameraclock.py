"""Which clock a picture's time is of: the camera's, if it tells it and it is near ours, else arrival."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from kinestream.errors import SourceError, UsageError
from kinestream_ingest.sources.cameraclock import NEAR_US, CameraClock, parse_wanted
from kinestream_ingest.sources.network import open_network, timed
from kinestream_ingest.sources.rtspoptions import Options, take_options

NOW = 1_795_838_455_000_000


def _reference(wall_us: int) -> bytes:
    return struct.pack("qi4x", wall_us, 24)


def _told(clock: CameraClock, stream_us: int, wall_us: int) -> None:
    """What a camera tells of its clock comes with every packet; the first time, with that of the next one."""
    clock.note(stream_us, _reference(wall_us + 40_000), NOW)
    clock.note(stream_us, _reference(wall_us), NOW)


def test_until_it_tells_its_clock_pictures_are_of_their_arrival() -> None:
    clock = CameraClock()
    assert (clock.captured_us(40_000, NOW), clock.name, clock.off_us) == (NOW, "arrival", None)


def test_from_then_on_of_its_own_clock() -> None:
    clock = CameraClock()
    _told(clock, 1_000_000, NOW - 30_000)
    assert (clock.captured_us(1_000_000, NOW), clock.name) == (NOW - 30_000, "camera")
    assert clock.captured_us(1_040_000, NOW + 60_000) == NOW + 10_000  # evenly, however unevenly they arrive
    assert clock.off_us == 30_000


def test_the_first_word_of_its_clock_is_of_another_picture() -> None:
    clock = CameraClock()
    clock.note(0, _reference(NOW + 40_000), NOW)
    assert (clock.captured_us(0, NOW), clock.name) == (NOW, "arrival")
    clock.note(40_000, _reference(NOW + 40_000), NOW + 70_000)
    assert (clock.captured_us(40_000, NOW + 70_000), clock.name) == (NOW + 40_000, "camera")


def test_a_picture_keeps_the_clock_that_it_was_timed_by() -> None:
    clock = CameraClock()
    before = timed(lambda label: np.zeros((1, 1, 3), np.uint8), clock, 0, NOW)
    _told(clock, 0, NOW - 30_000)
    after = timed(before.picture, clock, 40_000, NOW + 60_000)
    assert [(frame.clock, frame.captured_us) for frame in (before, after)] == [
        ("arrival", NOW),
        ("camera", NOW + 10_000),
    ]


def test_a_picture_without_a_time_is_of_its_arrival() -> None:
    clock = CameraClock()
    _told(clock, 0, NOW)
    assert (clock.captured_us(None, NOW + 5), clock.name) == (NOW + 5, "arrival")


@pytest.mark.parametrize("off_us", [NEAR_US + 1, -NEAR_US - 1, NOW])
def test_a_clock_that_is_not_set_does_not_count(off_us: int) -> None:
    clock, trusting = CameraClock(), CameraClock("camera")
    for one in (clock, trusting):
        _told(one, 0, NOW - off_us)
    assert (clock.captured_us(0, NOW), clock.name, clock.off_us) == (NOW, "arrival", off_us)
    assert (trusting.captured_us(0, NOW), trusting.name) == (NOW - off_us, "camera")


def test_nor_one_that_nobody_wants() -> None:
    clock = CameraClock("arrival")
    _told(clock, 0, NOW - 30_000)
    assert (clock.captured_us(0, NOW), clock.name) == (NOW, "arrival")


def test_what_is_too_short_is_no_reference() -> None:
    clock = CameraClock()
    clock.note(0, b"1234567", NOW)
    assert clock.off_us is None


def test_wanted() -> None:
    assert [parse_wanted(one) for one in ("auto", "camera", "arrival")] == ["auto", "camera", "arrival"]
    with pytest.raises(UsageError, match="a camera's clock is auto, camera or arrival, got 'ntp'"):
        parse_wanted("ntp")


class TestOptions:
    @pytest.mark.parametrize(
        ("url", "bare", "options"),
        [
            ("rtsp://c/x", "rtsp://c/x", Options()),
            ("rtsp://c/x?transport=udp", "rtsp://c/x", Options(transport="udp")),
            ("rtsp://c/x?a=1&transport=udp", "rtsp://c/x?a=1&transport=udp", Options()),
            ("rtsp://c/x?a=1#transport=udp", "rtsp://c/x?a=1", Options(transport="udp")),
            ("rtsp://c/x#clock=arrival&decoder=auto", "rtsp://c/x", Options(clock="arrival", decoder="auto")),
            ("rtsp://a:b#c@d/x", "rtsp://a:b#c@d/x", Options()),
        ],
    )
    def test_are_taken_out_of_the_url(self, url: str, bare: str, options: Options) -> None:
        assert take_options(url) == (bare, options)

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("rtsp://a:secret@c/x#speed=2", "unknown option 'speed' of a camera; there are transport=tcp"),
            ("rtsp://a:secret@c/x?transport=quic", "transport is tcp or udp, got 'quic'"),
            ("rtsp://a:secret@c/x#clock=sun", "a camera's clock is auto, camera or arrival, got 'sun'"),
            ("rtsp://a:secret@127.0.0.1:1/x#decoder=abacus", "this FFmpeg decodes on cpu, "),
        ],
    )
    def test_wrong_ones(self, url: str, error: str) -> None:
        with pytest.raises(SourceError) as caught:
            open_network(url)
        assert error in str(caught.value)
        assert "secret" not in str(caught.value)
