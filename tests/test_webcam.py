"""Webcams, with an object in place of `cv2.VideoCapture`: no camera is on the machines that test."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakewebcam import FakeCapture, FakeWebcams
from kinestream.errors import SourceError, UsageError
from kinestream.webcam import Granted, Webcam, open_webcam
from waiting import wait_until_sync


@pytest.fixture
def webcams(monkeypatch: pytest.MonkeyPatch) -> FakeWebcams:
    return FakeWebcams(monkeypatch)


def test_says_what_was_asked_for_and_what_was_granted(webcams: FakeWebcams) -> None:
    webcams.plug(0, size=(1280, 720), fps=15.0, format="YUYV")
    with open_webcam(0, width=1920, height=1080, fps=60, format="MJPG") as webcam:
        assert webcam.granted == Granted(1280, 720, 15.0, "YUYV")
        assert webcam.summary == "webcam 0: asked for 1920x1080, 60 fps, MJPG, got 1280x720, 15 fps, YUYV"
        assert webcam.read().shape == (720, 1280, 3)


def test_asks_for_the_format_before_the_size_and_the_size_before_the_rate(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0)
    open_webcam(0, width=640, height=480, fps=30, format="MJPG").close()
    assert [name for name, _ in capture.asked] == [
        cv2.CAP_PROP_FOURCC,
        cv2.CAP_PROP_FRAME_WIDTH,
        cv2.CAP_PROP_FRAME_HEIGHT,
        cv2.CAP_PROP_FPS,
    ]
    assert capture.asked[0][1] == int.from_bytes(b"MJPG", "little")


def test_asked_for_nothing_leaves_the_webcam_as_it_is(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0, fps=0.0, format="")
    with open_webcam(0) as webcam:
        assert capture.asked == []
        assert webcam.granted == Granted(64, 48, None, None)
        assert webcam.summary == "webcam 0: asked for nothing, got 64x48"


def test_a_path_that_leads_to_a_numbered_device_is_that_device(webcams: FakeWebcams, tmp_path: Path) -> None:
    webcams.plug(3)
    by_name = tmp_path / "usb-Some_Camera-index0"
    by_name.symlink_to("/dev/video3")
    for device in (3, "3", "/dev/video3", str(by_name)):
        open_webcam(device).close()
    assert webcams.opened == [3, 3, 3, 3]


def test_that_is_unplugged_is_a_source_that_broke(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0)
    webcam = open_webcam(0)
    webcam.read()
    capture.unplug()
    with pytest.raises(SourceError, match="webcam 0 gives no more pictures"):
        webcam.read()


def test_that_opencv_fails_on_is_a_source_that_broke(webcams: FakeWebcams) -> None:
    capture = webcams.plug(0)
    webcam = open_webcam(0)
    capture.error = cv2.error("(-215) broken pipe")
    with pytest.raises(SourceError, match="webcam 0 broke") as raised:
        webcam.read()
    assert "\n" not in str(raised.value)


def test_that_is_not_there_says_so_and_is_released(webcams: FakeWebcams) -> None:
    with pytest.raises(SourceError, match=r"cannot open webcam 9: there is no /dev/video9; "):
        open_webcam(9)
    assert webcams.missing.released == 1


def test_that_is_no_camera_says_so(webcams: FakeWebcams, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(SourceError, match="it is no camera, or another program has it"):
        open_webcam(str(path))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"width": 640}, "a width and a height"),
        ({"width": 0, "height": 480}, "a width and a height"),
        ({"fps": 0}, "fps must be more than 0"),
        ({"format": "JPEG2000"}, "four letters"),
    ],
)
def test_impossible_wishes_are_refused_before_it_is_opened(
    webcams: FakeWebcams, wish: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        open_webcam(0, **wish)  # type: ignore[arg-type]
    assert webcams.opened == []


def test_opencv_s_own_level_of_logging_is_restored(webcams: FakeWebcams) -> None:
    before = cv2.utils.logging.getLogLevel()
    with pytest.raises(SourceError):
        open_webcam(9)
    assert cv2.utils.logging.getLogLevel() == before


def test_closing_waits_for_the_picture_that_is_being_read(webcams: FakeWebcams) -> None:
    """A capture that is released while another thread reads it takes the process with it."""
    capture = webcams.plug(0)
    capture.hold()
    webcam = open_webcam(0)
    got: list[np.ndarray] = []
    reading = threading.Thread(target=lambda: got.append(webcam.read()))
    reading.start()
    capture.being_read.wait(10)
    closing = threading.Thread(target=webcam.close)
    closing.start()
    closing.join(0.05)
    assert capture.released == 0
    capture.go_on()
    reading.join(10)
    closing.join(10)
    assert (len(got), capture.released) == (1, 1)
    webcam.close()
    assert capture.released == 1
    with pytest.raises(SourceError, match="was closed"):
        webcam.read()


def test_closing_does_not_wait_for_many_pictures(webcams: FakeWebcams) -> None:
    """A thread that reads one after the other has the lock again before who waits for it wakes up."""
    for _ in range(5):
        capture = webcams.plug(0, pause_s=0.02)
        webcam = open_webcam(0)

        def read_on(webcam: Webcam = webcam) -> None:
            with suppress(SourceError):
                while True:
                    webcam.read()

        reading = threading.Thread(target=read_on)
        reading.start()
        wait_until_sync(lambda capture=capture: capture.reads > 2, "pictures")  # type: ignore[misc]
        before = capture.reads
        webcam.close()
        reading.join(10)
        assert capture.reads <= before + 1


def test_a_fake_reads_as_opencv_does() -> None:
    """`read` of a device that is not there gives (False, None), not an error: so does the fake."""
    real = cv2.VideoCapture()
    fake = FakeCapture(there=False)
    assert real.isOpened() == fake.isOpened()
    assert real.read() == fake.read() == (False, None)
    assert real.get(cv2.CAP_PROP_FPS) == fake.get(cv2.CAP_PROP_FPS) == -1
