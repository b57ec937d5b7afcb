"""The estimator on a webcam, which is an object in place of OpenCV's: no camera is on the machines that test
this.

Windows are tested in `test_window.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fakecamera import FakeCamera
from kinestream.errors import SourceError, UsageError
from kinestream_workers import Estimate, RealTimePoseEstimator, newest
from oddengine import Image, person, use_engine
from waiting import wait_until_sync

TESTS = Path(__file__).parent


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> FakeCamera:
    """What OpenCV opens from now on, whatever is asked for: not a camera, but an object that is none."""
    fake = FakeCamera()
    monkeypatch.setattr(cv2, "VideoCapture", fake.opened)
    return fake


def grey(value: int) -> Image:
    return np.full((48, 64, 3), value, np.uint8)


def test_a_webcams_pictures_are_fresh(monkeypatch: pytest.MonkeyPatch, camera: FakeCamera) -> None:
    use_engine(monkeypatch, person(2))
    camera.shows(grey(1))
    results = RealTimePoseEstimator().webcam_results(3, width=64, height=48, fps=15.0, format="MJPG")
    assert camera.device is None, "opened when the first result is asked for"
    monkeypatch.setattr(newest, "time", SimpleNamespace(time=lambda: 1234.5))
    image, result = next(results)
    assert camera.device == 3
    assert camera.asked == {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 64,
        cv2.CAP_PROP_FRAME_HEIGHT: 48,
        cv2.CAP_PROP_FPS: 15.0,
    }
    np.testing.assert_array_equal(image, grey(1))
    assert len(result.people) == 1
    assert result.timestamp == 1234.5, "the time is that of the picture, not of looking at it"
    camera.shows(grey(2), grey(3), grey(4))
    wait_until_sync(lambda: camera.repeats, "the last of the pictures to be read")
    image, _ = next(results)
    np.testing.assert_array_equal(image, grey(4))
    results.close()
    assert camera.released == 1


def test_a_webcam_that_breaks_off(monkeypatch: pytest.MonkeyPatch, camera: FakeCamera) -> None:
    use_engine(monkeypatch)
    camera.shows(grey(1))
    seen: list[Estimate] = []

    def note(result: Estimate) -> None:
        seen.append(result)
        camera.shows(None)

    with pytest.raises(SourceError, match="webcam 0 gives no more pictures"):
        RealTimePoseEstimator().process_webcam(show=False, on_result=note)
    assert seen and camera.released == 1


def test_a_webcam_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_engine(monkeypatch)
    gone = str(tmp_path / "video9")
    with pytest.raises(SourceError, match=f"cannot open webcam {gone}: there is no {gone}") as caught:
        next(RealTimePoseEstimator().webcam_results(gone))
    assert "\n" not in str(caught.value)


def test_a_loop_that_nobody_closes_keeps_no_program_from_ending() -> None:
    program = (
        "import cv2, numpy as np\n"
        "from fakecamera import FakeCamera\n"
        "from kinestream_workers import RealTimePoseEstimator\n"
        "camera = FakeCamera()\n"
        "camera.shows(np.zeros((48, 64, 3), np.uint8))\n"
        "cv2.VideoCapture = camera.opened\n"
        "results = RealTimePoseEstimator('testcard').webcam_results()\n"
        "print(next(results)[1].people)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=TESTS, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "()\n", "")


def test_a_webcam_for_nobody(monkeypatch: pytest.MonkeyPatch, camera: FakeCamera) -> None:
    use_engine(monkeypatch)
    with pytest.raises(UsageError, match="show=False needs on_result"):
        RealTimePoseEstimator().process_webcam(show=False)
    assert camera.device is None
