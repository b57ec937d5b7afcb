"""A histogram and the sum of its values, both since the start, that one thread counts and others read.

Pure, and cheap enough for every frame. Not for: how it is told (see `families.py`).
"""

from __future__ import annotations

from kinestream.histogram import Histogram


class Cumulative:
    """Counts milliseconds."""

    def __init__(self) -> None:
        self._histogram = Histogram()
        self._sum_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one value; a negative one, since two clocks were compared, counts as 0: a sum only grows."""
        self._histogram.add(ms)
        self._sum_ms += max(0.0, ms)

    def read(self) -> tuple[dict[int, int], float]:
        """Values by bucket of `kinestream.histogram`, and their sum in milliseconds."""
        sum_ms = self._sum_ms
        return dict(self._histogram.counts), sum_ms  # one step of the interpreter, so no thread comes between
