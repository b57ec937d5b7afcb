"""A window that shows pictures, through OpenCV, where there is a display.

Not for: what is in the pictures.
"""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.errors import UsageError

_KEYS_THAT_END = frozenset((ord("q"), ord("Q"), 27))
"""q, and Esc."""

_FIRST_SIDE = 1280
"""Pixels: no side of the window is longer when it appears."""

_NO_DISPLAY = "no window can be shown here: {}; without one, use show=False or webcam_results()"

_TRIAL = "import cv2; cv2.namedWindow('trial')"
_TRIAL_S = 30


class Window:
    """One window; it appears with the first picture. Raises `UsageError` where there is no display."""

    def __init__(self, title: str) -> None:
        _check_display()
        self._title = title
        self._shown = False

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show a picture (BGR); false once the user has pressed q or Esc, or closed the window."""
        if not self._shown:
            self._appear(*image.shape[1::-1])
        elif not self._visible():
            return False
        cv2.imshow(self._title, image)
        return cv2.waitKey(1) & 0xFF not in _KEYS_THAT_END

    def close(self) -> None:
        """Take the window away."""
        if self._shown and self._visible():
            cv2.destroyWindow(self._title)

    def _appear(self, width: int, height: int) -> None:
        # Without OpenCV's tool bar, and of a size that the user can change: it begins so that it fits a
        # screen.
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        scale = min(1.0, _FIRST_SIDE / max(width, height))
        cv2.resizeWindow(self._title, round(width * scale), round(height * scale))
        self._shown = True

    def _visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # what Qt's windows do once the last one was closed
            return False


def _check_display() -> None:
    """Raise `UsageError` if OpenCV cannot open a window here.

    Tried in a process of its own: where there is no display, Qt does not raise, but ends the process.
    """
    if not cv2.currentUIFramework():
        raise UsageError(_NO_DISPLAY.format("this OpenCV is one without windows"))
    if not sys.platform.startswith("linux"):
        return
    display = os.environ.get("DISPLAY")
    if not display and "QT_QPA_PLATFORM" not in os.environ:
        raise UsageError(_NO_DISPLAY.format("there is no display (DISPLAY is not set)"))
    try:
        tried = subprocess.run([sys.executable, "-P", "-c", _TRIAL], capture_output=True, timeout=_TRIAL_S)
    except subprocess.TimeoutExpired:
        raise UsageError(_NO_DISPLAY.format(f"the display {display} does not answer")) from None
    if tried.returncode:
        raise UsageError(_NO_DISPLAY.format(f"the display {display} cannot be opened"))
