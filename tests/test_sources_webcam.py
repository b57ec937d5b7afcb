"""A webcam as a source, with an object in place of `cv2.VideoCapture`."""

from __future__ import annotations

import logging
import time
from itertools import islice

import cv2
import pytest

from fakewebcam import FakeWebcams
from kinestream.errors import SourceError, UsageError
from kinestream_ingest.sources import open_source
from waiting import wait_until_sync


@pytest.fixture
def webcams(monkeypatch: pytest.MonkeyPatch) -> FakeWebcams:
    return FakeWebcams(monkeypatch)


def test_is_opened_by_number_path_or_url(webcams: FakeWebcams) -> None:
    webcams.plug(0)
    for text, name in [
        ("0", "webcam-0"),
        ("/dev/video0", "video0"),
        ("webcam://0", "webcam-0"),
        ("webcam:///dev/video0", "video0"),
    ]:
        source = open_source(text)
        assert (source.name, source.live, source.returns) == (name, True, True)
        assert (source.width, source.height, source.fps, source.frames) == (64, 48, 30.0, None)
        source.close()
    assert webcams.opened == [0, 0, 0, 0]


def test_says_in_one_line_what_was_granted(webcams: FakeWebcams, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    capture = webcams.plug(0, size=(640, 480), format="YUYV")
    source = open_source("webcam://0?size=1280x720&fps=60&format=MJPG")
    source.close()
    assert caplog.messages == ["webcam 0: asked for 1280x720, 60 fps, MJPG, got 640x480, 30 fps, YUYV"]
    assert source.description == "webcam 0, 640x480, 30 fps, YUYV"
    assert dict(capture.asked)[cv2.CAP_PROP_FPS] == 60


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("webcam://0?size=big", "unknown webcam option size=big; there are size=1280x720"),
        ("webcam://0?colour=red", "unknown webcam option colour=red"),
        ("webcam://front", "a webcam is a number or a device path, as in webcam://0, got front"),
        ("webcam://", "got none"),
        ("7", "cannot open webcam 7"),
    ],
)
def test_a_mistake_is_one_line(webcams: FakeWebcams, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        open_source(text)
    assert "\n" not in str(raised.value)


def test_pictures_are_captured_when_they_come(webcams: FakeWebcams) -> None:
    webcams.plug(0, pause_s=0.01)
    before_us = time.time_ns() // 1000
    source = open_source("0")
    frames = [*islice(source, 5)]
    source.close()
    times = [frame.captured_us for frame in frames]
    assert before_us < times[0]
    assert times == sorted(times)
    assert times[-1] <= time.time_ns() // 1000
    assert {frame.media_time_s for frame in frames} == {None}


def test_of_the_pictures_that_nobody_took_the_newest_come(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0)
    source = open_source("0")
    wait_until_sync(lambda: capture.reads > 30, "pictures that nobody takes")
    first = next(iter(source)).picture("").mean()
    source.close()
    assert first > 20, "old pictures are not kept for whoever comes late"


def test_unplugged_breaks_the_source_and_gives_the_device_back(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0, pause_s=0.01)
    source = open_source("0")
    frames = iter(source)
    next(frames)
    capture.unplug()
    with pytest.raises(SourceError, match="webcam 0 gives no more pictures"):
        for _ in frames:
            pass
    wait_until_sync(lambda: capture.released == 1, "the device to be free for the next try")


def test_that_hangs_is_given_up_on(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0)
    source = open_source("0", timeout_s=0.3)
    frames = iter(source)
    next(frames)
    capture.hold()
    with pytest.raises(SourceError, match=r"no picture came for 0\.3 s"):
        for _ in frames:
            pass
    source.close()
    assert capture.released == 0, "not while a thread reads it"
    capture.go_on()
    wait_until_sync(lambda: capture.released == 1, "the device to be free")


def test_that_gives_no_first_picture_is_not_opened(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0)
    capture.hold()
    with pytest.raises(SourceError, match=r"cannot watch webcam 0: no picture came for 0\.1 s"):
        open_source("0", timeout_s=0.1)
    capture.go_on()
    wait_until_sync(lambda: capture.released == 1, "the device to be free")


def test_is_given_back_when_it_is_closed_before_anybody_looked(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0)
    open_source("0").close()
    wait_until_sync(lambda: capture.released == 1, "the device to be free")
