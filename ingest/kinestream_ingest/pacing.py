"""When a frame is due, and which frames are taken: pure decisions on times, and one interruptible wait.

Not for: dropping frames that nobody has room for; that is the lane's business (see `handover.py`).
"""

from __future__ import annotations

import threading
import time
from typing import Literal

from kinestream.errors import UsageError
from kinestream.messages import Lane

Pace = Literal["camera", "playback", "unpaced"]
"""`camera`: at its times, and what is much too late never happened. `playback`: at its times, and what is
late comes late. `unpaced`: as fast as it is taken."""

CATCH_UP_S = 0.5
"""How late a picture of a paced synthetic camera may be made and still be made: a busy machine stutters by
less, a process that was frozen or a machine too slow for this camera is later."""

_EARLY = 0.25
"""Part of the interval by which a frame may come too early and still count as due: cameras jitter, and
without it a 30 fps camera under a limit of 30 fps would lose every frame that came a millisecond early."""

_NEAREST = 0.5
"""Part of the source's own interval that is early at most, so that the frame nearest to its turn is taken."""


def pace_of(lane: Lane | None, realtime: bool | None) -> Pace | None:
    """How the source is paced; None leaves it to the source, as leaving out the lane leaves that to it."""
    if realtime is None and lane is None:
        return None
    if realtime is False or (realtime is None and lane == "every-frame"):
        return "unpaced"
    return "playback" if lane == "every-frame" else "camera"


class Clock:
    """Real time since the first frame, to wait by; `stop` ends every wait, from any thread."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._began: float | None = None

    def wait_until(self, time_s: float) -> float:
        """Wait until `time_s`, counted as in the first call; return the seconds that it is too late, or 0."""
        now = time.monotonic()
        if self._began is None:
            self._began = now - time_s
        late_s = now - self._began - time_s
        if late_s < 0:
            self._stopped.wait(-late_s)
        return max(0.0, late_s)

    def stop(self) -> None:
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()


class Thinning:
    """Which frames of a source are taken: every `every`-th, and of these at most `max_fps` a second.

    The rate is kept on average, with the frames nearest to their turn. Raises `UsageError` for impossible
    numbers.
    """

    def __init__(self, *, every: int = 1, max_fps: float | None = None) -> None:
        if every < 1:
            raise UsageError(f"every must be at least 1, got {every}")
        if max_fps is not None and not 0 < max_fps < float("inf"):
            raise UsageError(f"max-fps must be more than 0, got {max_fps:g}")
        self._every = every
        self._interval_s = 1 / max_fps if max_fps else 0.0
        self._seen = 0
        self._due_s = float("inf")  # far ahead of any time: the first frame looks like a clock set back
        self._before_s = float("-inf")

    def takes(self, time_s: float) -> bool:
        """Whether the next frame, made at `time_s` on any clock, is taken; call it once a frame, in order."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return False
        if not self._interval_s:
            return True
        early_s = min(_EARLY * self._interval_s, _NEAREST * abs(time_s - self._before_s))
        self._before_s = time_s
        if time_s < self._due_s - 2 * self._interval_s:  # a clock was set back
            self._due_s = time_s
        if time_s < self._due_s - early_s:
            return False
        pause = time_s - self._due_s > self._interval_s  # no burst to make up for frames that never came
        self._due_s = (time_s if pause else self._due_s) + self._interval_s
        return True
