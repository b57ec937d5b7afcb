"""An object in place of `cv2.VideoCapture`: it shows the pictures that a test gives it. It is no camera.

Not for: what drivers do; no camera is on the machines that test this.
"""

from __future__ import annotations

import threading
import time
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

_PAUSE_S = 0.005


class FakeCamera:
    """Shows each picture once and the last one again and again, as a camera in front of a wall; None ends it.

    `device` is what was opened, `asked` what was set, `repeats` says whether the last picture was shown
    again, `released` counts.
    """

    def __init__(self) -> None:
        self.device: int | str | None = None
        self.asked: dict[int, float] = {}
        self.released = 0
        self.repeats = False
        self._changing = threading.Lock()
        self._coming: deque[NDArray[np.uint8] | None] = deque()
        self._last: NDArray[np.uint8] | None = None

    def shows(self, *pictures: NDArray[np.uint8] | None) -> None:
        """Show these next."""
        with self._changing:
            self.repeats = False
            self._coming.extend(pictures)

    def opened(self, device: int | str, backend: int) -> FakeCamera:
        """What `cv2.VideoCapture(device, backend)` returns."""
        self.device = device
        return self

    def isOpened(self) -> bool:
        return True

    def set(self, property: int, value: float) -> bool:
        self.asked[property] = value
        return True

    def get(self, property: int) -> float:
        if property in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT) and self._coming:
            first = self._coming[0]
            if first is not None:
                return float(first.shape[1 if property == cv2.CAP_PROP_FRAME_WIDTH else 0])
        return 0.0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        with self._changing:
            self.repeats = not self._coming
            if self._coming:
                self._last = self._coming.popleft()
        if self.repeats:
            time.sleep(_PAUSE_S)
        return self._last is not None, self._last

    def release(self) -> None:
        self.released += 1
