"""A long picture as overlapping squares, for detectors that scale whatever they get to one small square.

In such a detector's view a person in the corner of a wide scene is a few dozen pixels high. A square of the
picture shows that person larger. Each person is taken from the one square in whose own part of the picture he
or she is, so that nobody comes twice.

Not for: looking into the squares (see `mediapipe.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

MIN_RATIO = 1.5
"""Of the longer side to the shorter one; below it, a square would enlarge little."""

MAX_RATIO = 4.0
"""Pictures longer than this are no camera's; they would have many squares."""


@dataclass(frozen=True, slots=True)
class Square:
    """Pixels x to x + side and y to y + side of a picture.

    Its own part of the picture lies from `begin` to `end` along the longer side. Somebody whose middle is
    there and who is no longer than `fits` pixels is in the square as a whole, thanks to the overlap.
    """

    x: int
    y: int
    side: int
    begin: float
    end: float
    wide: bool
    fits: float

    def owns(self, x: float, y: float) -> bool:
        """Whether a point of the picture, corner-based pixels, lies in its own part."""
        return self.begin <= (x if self.wide else y) < self.end


def squares(width: int, height: int) -> list[Square]:
    """Squares as large as the shorter side, each overlapping the next by half at least; none for a picture
    that is nearly square or absurdly long.

    Their own parts are disjoint, and together the whole plane.
    """
    side, length = sorted((width, height))
    if not MIN_RATIO <= length / side <= MAX_RATIO:
        return []
    last = math.ceil((length - side) / (side / 2))
    starts = [round(number * (length - side) / last) for number in range(last + 1)]
    # From one square to the next half way between their middles; whoever is beyond the edge has an owner too.
    bounds = [-math.inf, *((a + b + side) / 2 for a, b in pairwise(starts)), math.inf]
    wide = width > height
    fits = side - (length - side) / last
    return [
        Square(start if wide else 0, 0 if wide else start, side, begin, end, wide, fits)
        for start, (begin, end) in zip(starts, pairwise(bounds), strict=True)
    ]
