"""What a batch costs the engine, from warm-up on and as it turns out while it works.

Warm-up measures some sizes on an idle machine; in earnest other processes want the cores too, and pictures
with many people take longer. So each batch that was inferred corrects all sizes by one factor. Pure: it is
told what was measured. Not for: what follows from the costs (see `target.py` and `lookahead.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

_LEARNING = 0.1
"""Weight of the newest batch: some ten of them make a change of the machine's load known."""

_CAUTION = 2.0
"""Deviations below the mean at which a batch counts as quick: most take longer."""

_HARDLY_MORE = 1.1


class Costs:
    """Milliseconds of a batch by its size; without any measurement all is 0 until the first batch."""

    def __init__(self, measured_ms: Mapping[int, float] | None = None) -> None:
        """`measured_ms` is what `warm_up` gives."""
        self._points = sorted((measured_ms or {}).items())
        self._factor = 1.0
        self._deviation = 0.0

    def saw(self, size: int, ms: float) -> None:
        """A batch of this size took so long."""
        if not self._points:
            self._points = [(size, ms)]
        ratio = ms / max(self._at_warm_up(size), 1e-3)
        self._deviation += _LEARNING * (abs(ratio - self._factor) - self._deviation)
        self._factor += _LEARNING * (ratio - self._factor)

    def ms(self, size: int) -> float:
        """What a batch of this size takes on average."""
        return self._factor * self._at_warm_up(size)

    def quick_ms(self, size: int) -> float:
        """What a batch of this size takes at least, but for rare ones."""
        return max(0.0, self._factor - _CAUTION * self._deviation) * self._at_warm_up(size)

    def as_one(self, most: int) -> int:
        """The largest batch of up to `most` that takes hardly more than one image; 1 if nobody measured."""
        size, most_ms = 1, _HARDLY_MORE * self.ms(1)
        while len(self._points) > 1 and size < most and self.ms(size + 1) <= most_ms:
            size += 1
        return size

    def _at_warm_up(self, size: int) -> float:
        """On the straight line between the sizes that were measured, and on beyond the largest of them."""
        points = self._points
        if not points or size < 1:
            return 0.0
        if size <= points[0][0]:
            return points[0][1] * size / points[0][0]
        if len(points) == 1:
            return points[0][1]
        above = next((place for place, (known, _) in enumerate(points) if known >= size), len(points) - 1)
        (low, low_ms), (high, high_ms) = points[above - 1], points[above]
        return max(0.0, low_ms + (size - low) * (high_ms - low_ms) / (high - low))
