"""A webcam through OpenCV: asked for a size, a rate and a format, and told truly what it granted.

Kept thin: no camera is on the machines that test this, so what is here is what OpenCV does anyway.
Not for: cameras that are reached by a URL, nor for pacing or sending what is read (see `kinestream_ingest`).
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.errors import SourceError, UsageError

_BACKEND = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
"""Linux: V4L2 only, since the other backends that OpenCV would try know no webcams and complain at length."""

_DEVICE = re.compile(r"/dev/video(\d+)")


@dataclass(frozen=True, slots=True)
class Granted:
    """What a webcam says it gives: pixels, frames a second, and a four-letter format; None is unknown."""

    width: int
    height: int
    fps: float | None = None
    format: str | None = None

    def __str__(self) -> str:
        return _words((self.width, self.height), self.fps, self.format)


class Webcam:
    """An open webcam, made by `open_webcam`; a context manager that closes it.

    `granted` may differ from what was asked for: drivers choose the nearest that they can do, or ignore it.
    """

    def __init__(self, device: int | str, capture: Any, asked: str) -> None:
        """`capture` is an open `cv2.VideoCapture`, or what behaves like one."""
        self.device = device
        self.asked = asked
        self._capture = capture
        self._closed = self._released = False
        self._reading = threading.Lock()  # releasing a capture that another thread reads would crash
        self.granted = Granted(
            width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=_known(capture.get(cv2.CAP_PROP_FPS)),
            format=_format(capture.get(cv2.CAP_PROP_FOURCC)),
        )

    @property
    def summary(self) -> str:
        """One line: what was asked for, and what was granted."""
        return f"webcam {self.device}: asked for {self.asked or 'nothing'}, got {self.granted}"

    def read(self) -> NDArray[np.uint8]:
        """Wait for the next picture: BGR, height×width×3. Raises `SourceError` when the webcam is gone."""
        with self._reading:
            if self._closed:
                raise SourceError(f"webcam {self.device} was closed")
            try:
                there, image = self._capture.read()
            except cv2.error as error:
                raise SourceError(f"webcam {self.device} broke: {error.err}") from None
        if not there or image is None:
            raise SourceError(f"webcam {self.device} gives no more pictures")
        picture: NDArray[np.uint8] = image
        return picture

    def close(self) -> None:
        """Give the webcam back; waits for a picture that is being read. Closing again does nothing."""
        self._closed = True  # without the lock, which who reads picture after picture has nearly always
        with self._reading:
            if not self._released:
                self._released = True
                self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_webcam(
    device: int | str,
    *,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    format: str | None = None,
) -> Webcam:
    """Open a webcam by its number (0 is the first) or its path, such as /dev/video0 or /dev/v4l/by-id/….

    `format` has four letters, such as MJPG: many webcams reach their largest sizes and rates only with it.
    Raises `UsageError` for numbers that cannot be, `SourceError` if there is no such webcam or it cannot be
    opened.
    """
    if isinstance(device, str) and device.isdecimal():
        device = int(device)
    if (width is None) != (height is None) or any(side is not None and side < 1 for side in (width, height)):
        raise UsageError(f"a webcam's size is a width and a height in pixels, got {width} and {height}")
    if fps is not None and not 0 < fps < float("inf"):
        raise UsageError(f"a webcam's fps must be more than 0, got {fps:g}")
    if format is not None and not re.fullmatch(r"[ -~]{4}", format):
        raise UsageError(f"a webcam's format has four letters, such as MJPG, got {format!r}")
    with _quiet():
        capture = cv2.VideoCapture(_openable(device), _BACKEND)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"cannot open webcam {device}: {_why_not(device)}")
        # The format first: it decides which sizes there are, and the size which rates.
        if format is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*format))
        if width is not None and height is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        size = None if width is None or height is None else (width, height)
        return Webcam(device, capture, _words(size, fps, format))


def _openable(device: int | str) -> Any:
    """What OpenCV opens: a number, also for a path that leads to a numbered device; else the path."""
    if isinstance(device, int):
        return device
    numbered = _DEVICE.fullmatch(str(Path(device).resolve()))
    return int(numbered[1]) if numbered else device


def _why_not(device: int | str) -> str:
    """The likeliest reason, as far as the file system shows it."""
    if _BACKEND != cv2.CAP_V4L2:
        return "it is not there, another program has it, or this program may not use it"
    path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
    if not path.exists():
        there = sorted(str(found) for found in Path("/dev").glob("video*"))
        return f"there is no {path}; " + (f"there is {', '.join(there)}" if there else "no webcam is here")
    try:
        path.open("rb").close()
    except PermissionError:
        return f"{path} may not be read; its group must be one of yours (sudo usermod -aG video $USER)"
    except OSError as error:
        return f"{error.strerror}"
    return "it is no camera, or another program has it"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV from writing about a webcam that is not there: an error says it in one line."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _known(number: float) -> float | None:
    """A driver that does not know says 0 or -1."""
    return number if 0 < number < float("inf") else None


def _format(code: float) -> str | None:
    """The four letters of a FOURCC number."""
    if not code > 0:
        return None
    letters = (int(code) & 0xFFFFFFFF).to_bytes(4, "little").decode("latin-1")
    return letters.strip() if letters.isascii() and letters.isprintable() else None


def _words(size: tuple[int, int] | None, fps: float | None, format: str | None) -> str:
    words = [f"{size[0]}x{size[1]}"] if size else []
    words += [f"{fps:g} fps"] if fps else []
    words += [format] if format else []
    return ", ".join(words)
