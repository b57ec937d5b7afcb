"""The programs in docs/in-process.md run as they are printed there, and its tables say what the code has.

A fake camera stands for the webcam; nothing is downloaded, so the model is the test card's graph.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakecamera import FakeCamera
from kinestream.errors import SourceError
from kinestream.testcard import TestCard
from kinestream_workers import Estimate, RealTimePoseEstimator, window

PAGE = (Path(__file__).parent.parent / "docs" / "in-process.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
IMPORT = PROGRAMS[0].splitlines(keepends=True)[1]
"""The later programs on the page go on where the first one began."""

CARD = TestCard(athletes=2, motion="squat", seed=8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture; what is opened as a camera shows four pictures, and breaks off."""
    camera = FakeCamera()
    camera.shows(*(CARD.draw(number / 30) for number in range(4)))
    monkeypatch.setattr(cv2, "VideoCapture", camera.opened)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("people.jpg", CARD.draw(0.5))
    return tmp_path


def test_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = PROGRAMS[:2]
    names: dict[str, object] = {}
    exec(first, names)
    assert capsys.readouterr().out == "2 (2, 17, 2) (2, 17)\n"
    drawn, image = cv2.imread("drawn.jpg"), cv2.imread("people.jpg")
    assert drawn is not None and image is not None
    assert np.abs(drawn.astype(int) - image).max() > 100
    exec(second, names)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_loop_over_a_webcam(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = [program for program in PROGRAMS if "webcam_results" in program]
    camera = FakeCamera()
    camera.shows(CARD.draw(0.5))
    monkeypatch.setattr(cv2, "VideoCapture", camera.opened)
    real = RealTimePoseEstimator.process_frame

    def and_then_it_breaks(*args: object, **more: object) -> Estimate:
        camera.shows(None)
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(RealTimePoseEstimator, "process_frame", and_then_it_breaks)
    with pytest.raises(SourceError, match="gives no more pictures"):
        exec(IMPORT + program, {})
    assert re.match(r"\d{10}\.\d{3}  2 people  0\.0 fps\n", capsys.readouterr().out)
    assert camera.asked == {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480}


def test_a_window(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's window is replaced here; `test_window.py` opens real ones."""
    (program,) = [program for program in PROGRAMS if "process_webcam()" in program]
    shown = []

    class Window:
        def __init__(self, title: str) -> None:
            assert "q ends" in title

        def show(self, image: object) -> bool:
            shown.append(image)
            return False

        def close(self) -> None:
            shown.append("closed")

    monkeypatch.setattr(window, "Window", Window)
    exec(IMPORT + program, {})
    picture, end = shown
    assert isinstance(picture, np.ndarray) and picture.shape == (720, 1280, 3) and end == "closed"


def test_the_fields_of_a_result_are_told() -> None:
    table = PAGE.split("The result:\n\n", 1)[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
    assert named == {field.name for field in dataclasses.fields(Estimate)}


def test_the_words_are_those_of_the_code() -> None:
    (told,) = re.findall(r"RealTimePoseEstimator\((model=[^)]*)\)", PAGE)
    words = dict(word.split("=") for word in told.replace("\n", " ").split(", "))
    parameters = inspect.signature(RealTimePoseEstimator).parameters
    assert words == {
        name: repr(parameter.default).replace("'", '"')
        for name, parameter in parameters.items()
        if name not in ("every", "max_side")
    }
