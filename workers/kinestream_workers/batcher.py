"""When a batch is due: as soon as it is full, or as soon as its oldest frame has waited long enough.

Pure: it is told the time and holds frames of any type. Not for: decoding, nor for waiting itself.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Batcher(Generic[T]):
    """Collects frames into batches of at most `max_batch`; times are seconds of any one monotonic clock.

    `max_batch` and `max_wait_s` may be set anew at any time.

    A frame that is added `alone` becomes a batch of its own: it was delivered before, so it may be what broke
    the batch that it was in, and must not break its neighbours. Nor does it overtake those that were there
    before it, or came with it: they go at once, since it is due.
    """

    def __init__(self, max_batch: int, max_wait_s: float) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {max_batch}")
        if max_wait_s < 0:
            raise ValueError(f"max_wait_s must not be negative, got {max_wait_s}")
        self.max_batch = max_batch
        self.max_wait_s = max_wait_s
        self._frames: deque[tuple[float, T]] = deque()
        self._alone: deque[tuple[float, T]] = deque()

    def __len__(self) -> int:
        return len(self._frames) + len(self._alone)

    def add(self, frame: T, now_s: float, *, alone: bool = False) -> None:
        """Put a frame in, at its time of arrival."""
        (self._alone if alone else self._frames).append((now_s, frame))

    def due_in(self, now_s: float) -> float | None:
        """Seconds until a batch is due, 0 if one is due now, None if there is nothing to wait for."""
        if self._alone or len(self._frames) >= self.max_batch:
            return 0.0
        if not self._frames:
            return None
        return max(0.0, self._frames[0][0] + self.max_wait_s - now_s)

    def pop(self) -> list[T]:
        """Take the next batch out, due or not; an empty list if there is no frame."""
        if self._alone and not (self._frames and self._frames[0][0] <= self._alone[0][0]):
            return [self._alone.popleft()[1]]
        return [self._frames.popleft()[1] for _ in range(min(self.max_batch, len(self._frames)))]
