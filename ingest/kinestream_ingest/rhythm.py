"""How regularly a camera's pictures come: the measured rate, the jitter, and for how long none has come.

Fed by the capture thread, read by whoever tells of the camera. Not for: thinning (see `pacing.py`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

WINDOW_S = 5.0
"""What is measured is of the last seconds: a camera that slows down in the dark shows it at once."""

_MOST = 1024
"""Pictures that are remembered: five seconds at 200 a second."""


class Rhythm:
    """Give it the capture times of pictures with `note`; `fps` and `jitter_ms` are those of the last seconds.

    `clock` is in seconds and only differences of it count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._captured_us: deque[int] = deque(maxlen=_MOST)
        self._last_s: float | None = None
        self._usual_s = 0.0

    def note(self, captured_us: int) -> None:
        """A picture has come."""
        now = self._clock()
        with self._lock:
            if self._last_s is not None:
                self._usual_s = now - self._last_s
            self._last_s = now
            if self._captured_us and captured_us < self._captured_us[-1]:  # a clock was set back
                self._captured_us.clear()
            self._captured_us.append(captured_us)
            while captured_us - self._captured_us[0] > 1e6 * WINDOW_S:
                self._captured_us.popleft()

    def begin(self) -> None:
        """A new connection: what was measured on the one before does not count."""
        with self._lock:
            self._captured_us.clear()
            self._usual_s = 0.0

    @property
    def fps(self) -> float | None:
        """Pictures a second; None until there are enough."""
        times = self._times()
        return (len(times) - 1) * 1e6 / (times[-1] - times[0]) if len(times) > 2 else None

    @property
    def jitter_ms(self) -> float | None:
        """Mean distance of an interval between two pictures from the mean interval."""
        times = self._times()
        if len(times) < 3:
            return None
        intervals = [later - earlier for earlier, later in pairwise(times)]
        mean = sum(intervals) / len(intervals)
        return sum(abs(interval - mean) for interval in intervals) / len(intervals) / 1000

    @property
    def ago_s(self) -> float | None:
        """Seconds since the last picture came; None if none ever did."""
        last_s = self._last_s
        return None if last_s is None else self._clock() - last_s

    @property
    def usual_s(self) -> float:
        """Seconds between the last two pictures; 0 if that is not known."""
        return self._usual_s

    def _times(self) -> list[int]:
        with self._lock:
            times = [*self._captured_us]
        return times if times and times[-1] > times[0] else []
