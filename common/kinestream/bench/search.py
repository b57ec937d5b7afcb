"""Which number of cameras to try next, so that the largest that fits is found in a few tries.

Pure: it is told what fitted. Not for: trying.
"""

from __future__ import annotations

from collections.abc import Mapping

MOST = 2000
"""Cameras; a machine that takes more has another bottleneck than what is looked for here."""

NEAR = 0.07
"""How near, as a part of it, the answer may be: trials of some seconds do not repeat more exactly."""


def next_number(tried: Mapping[int, bool], guess: int) -> int | None:
    """The number to try after those that were `tried` (number -> whether it fitted); None: it is known.

    `guess` is where to begin. Of trials that contradict one another the larger one that fitted is believed.
    """
    best = max((number for number, fitted in tried.items() if fitted), default=0)
    beyond = min((number for number, fitted in tried.items() if not fitted and number > best), default=None)
    if not tried:
        return min(MOST, max(1, guess))
    if beyond is None:
        return min(MOST, max(best + 1, round(best * 1.5))) if best < MOST else None
    if beyond - best <= max(1, round(best * NEAR)):
        return None
    return (best + beyond) // 2
