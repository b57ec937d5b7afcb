"""How long a producer that loses nothing waits while its stream is full.

Each try in vain sends a whole frame to Redis for nothing, and after a pause that is too long the workers have
nothing left. Pure. Not for: live cameras, whose streams make room by themselves.
"""

from __future__ import annotations

SHORTEST_S, LONGEST_S = 0.005, 0.05

AT_ONCE = 8
"""Frames that should find room after a pause: of the 64 that may wait, few enough that workers stay busy."""


class FullPause:
    """Grows until about `AT_ONCE` frames find room after each pause, and shrinks when more do."""

    def __init__(self) -> None:
        self._pause_s = SHORTEST_S
        self._taken_in = 0

    def taken_in(self) -> None:
        """A frame found room."""
        self._taken_in += 1

    def next_s(self) -> float:
        """Seconds to wait now that the stream is full."""
        factor = 1.5 if self._taken_in < AT_ONCE else 0.75
        self._pause_s = min(max(SHORTEST_S, factor * self._pause_s), LONGEST_S)
        self._taken_in = 0
        return self._pause_s
