"""A histogram of milliseconds with fixed bounds: small, mergeable, and good for percentiles within a few per
cent.

Pure. Not for: keeping it anywhere (see `workerreports.py`), nor for single values.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Self

_LEAST_MS, _MOST_MS = 0.1, 120_000.0
"""Whatever is quicker than the one is quick enough; whatever takes longer than the other has failed."""

_STEP = 1.2
"""Each bound by so much larger than the one before: an error of 10 % at most, with 78 bounds."""

BOUNDS_MS: tuple[float, ...] = tuple(
    _LEAST_MS * _STEP**power for power in range(math.ceil(math.log(_MOST_MS / _LEAST_MS, _STEP)) + 1)
)
"""Upper bounds of the buckets; what is larger counts into one more."""


class Histogram:
    """Counts by bucket: `counts[i]` values were at most `BOUNDS_MS[i]`, and more than the bound before."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """`counts` as of another one; raises `ValueError` for a bucket or a number that cannot be."""
        self.counts: Counter[int] = Counter()
        for bucket, count in (counts or {}).items():
            if not 0 <= bucket <= len(BOUNDS_MS) or count < 0:
                raise ValueError(f"there is no bucket {bucket} with {count} values")
            self.counts[bucket] = count

    def add(self, ms: float) -> None:
        """Count one value; what is negative, since two clocks were compared, counts as the least."""
        self.counts[bisect_left(BOUNDS_MS, ms)] += 1

    def merged(self, other: Histogram) -> Self:
        """A new histogram of the values of both."""
        return type(self)(self.counts + other.counts)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return self.counts.total()

    def quantile(self, part: float) -> float | None:
        """The value below which this part (0 to 1) of all values lies, in ms; None without values.

        Within a bucket, values are taken to be spread evenly on a logarithmic scale.
        """
        if not 0 <= part <= 1:
            raise ValueError(f"part must be from 0 to 1, got {part}")
        wanted, before = part * self.total, 0
        for bucket in sorted(self.counts):
            count = self.counts[bucket]
            if count and before + count >= wanted:
                if bucket >= len(BOUNDS_MS):
                    return BOUNDS_MS[-1]
                return float(BOUNDS_MS[bucket] / _STEP ** (1 - (wanted - before) / count))
            before += count
        return None


class RecentHistogram:
    """A histogram of about the last `window_s` seconds: between once and twice as long, in two halves."""

    def __init__(self, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._turned_s = clock()
        self._before, self._now = Histogram(), Histogram()

    def add(self, ms: float) -> None:
        """Count one value."""
        self._turn()
        self._now.add(ms)

    def read(self) -> Histogram:
        """What was counted lately."""
        self._turn()
        return self._before.merged(self._now)

    def _turn(self) -> None:
        passed_s = self._clock() - self._turned_s
        if passed_s < self._window_s:
            return
        self._before = self._now if passed_s < 2 * self._window_s else Histogram()
        self._now = Histogram()
        self._turned_s = self._clock()
