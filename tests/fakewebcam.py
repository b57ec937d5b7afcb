"""An object that behaves like `cv2.VideoCapture` on a webcam, as far as Kinestream uses it.

Not for: what real drivers do; no camera is on the machines that test.
"""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest


class FakeCapture:
    """Gives grey pictures, each a little lighter than the one before, `pause_s` apart."""

    def __init__(
        self,
        *,
        there: bool = True,
        size: tuple[int, int] = (64, 48),
        fps: float = 30.0,
        format: str = "MJPG",
        pause_s: float = 0.001,
    ) -> None:
        self.asked: list[tuple[int, float]] = []
        self.released = self.reads = 0
        self.error: Exception | None = None
        self.being_read = threading.Event()
        self._there = there
        self._size, self._fps, self._format, self._pause_s = size, fps, format, pause_s
        self._may_read = threading.Event()
        self._may_read.set()

    def unplug(self) -> None:
        self._there = False

    def hold(self) -> None:
        """Let `read` hang until `go_on`."""
        self._may_read.clear()

    def go_on(self) -> None:
        self._may_read.set()

    def isOpened(self) -> bool:
        return self._there

    def set(self, name: int, value: float) -> bool:
        self.asked.append((name, value))
        return True

    def get(self, name: int) -> float:
        if not self._there:
            return -1.0
        letters = int.from_bytes(self._format.encode(), "little")
        return {
            cv2.CAP_PROP_FRAME_WIDTH: float(self._size[0]),
            cv2.CAP_PROP_FRAME_HEIGHT: float(self._size[1]),
            cv2.CAP_PROP_FPS: self._fps,
            cv2.CAP_PROP_FOURCC: float(letters),
        }[name]

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.being_read.set()
        self._may_read.wait()
        time.sleep(self._pause_s)
        if self.error is not None:
            raise self.error
        if not self._there:
            return False, None
        self.reads += 1
        return True, np.full((self._size[1], self._size[0], 3), self.reads % 256, np.uint8)

    def release(self) -> None:
        self.released += 1


class FakeWebcams:
    """Stands in for the webcams of this machine; `opened` lists what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[int | str] = []
        self.missing = FakeCapture(there=False)
        self._plugged: dict[int | str, FakeCapture] = {}
        monkeypatch.setattr(cv2, "VideoCapture", self._open)

    def plug(self, device: int | str, **how: object) -> FakeCapture:
        self._plugged[device] = FakeCapture(**how)  # type: ignore[arg-type]
        return self._plugged[device]

    def _open(self, device: int | str, backend: int) -> FakeCapture:
        self.opened.append(device)
        return self._plugged.get(device, self.missing)
