"""The 68 marker colours: one for each of 17 joints of each of 4 athletes, so that a colour names a joint.

They are picked by farthest-point sampling among saturated RGB colours: the next colour is always the
candidate that lies farthest from all that were picked before, measured in YCbCr, where JPEG does its damage.
The closest two of the 68 are 54 apart in RGB.

Everything else in the picture (bodies, floor, shadows, caption) is kept near grey, so a saturated pixel is a
marker.

Not for: drawing a skeleton over a picture (see kinestream_consumers).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

MAX_ATHLETES = 4
JOINTS = 17

# A marker has a hue: its strongest and weakest channel differ by at least this much, …
MIN_SATURATION = 110
# … and it is bright enough to stand out from its dark ring.
MIN_BRIGHTNESS = 150
# The grid of candidates: channel values 0, 15, 30, … 255. Finer grids gave no larger distances.
STEP = 15

# ITU-R BT.601 as JPEG (JFIF) uses it, in millionths; rows Y, Cb, Cr for a column of R, G, B. In integers,
# since a tie that another processor rounds another way would give it another palette than the one in the
# graphs.
_YCBCR = np.array([[299000, 587000, 114000], [-168736, -331264, 500000], [500000, -418688, -81312]], np.int64)


@cache
def palette() -> NDArray[np.uint8]:
    """All marker colours, (4 athletes, 17 joints, 3 channels) uint8 in BGR order; always the same ones."""
    levels = np.arange(0, 256, STEP)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    saturated = rgb.max(axis=1) - rgb.min(axis=1) >= MIN_SATURATION
    rgb = rgb[saturated & (rgb.max(axis=1) >= MIN_BRIGHTNESS)]
    space = rgb @ _YCBCR.T

    picked = [int(np.flatnonzero((rgb == (255, 0, 0)).all(axis=1))[0])]
    distance = np.full(len(rgb), np.iinfo(np.int64).max)
    while len(picked) < MAX_ATHLETES * JOINTS:
        distance = np.minimum(distance, ((space - space[picked[-1]]) ** 2).sum(axis=1))
        picked.append(int(distance.argmax()))

    # The first colours are the most different ones. Dealt out in turn, every athlete gets its share of them.
    bgr: NDArray[np.uint8] = rgb[picked][:, ::-1].astype(np.uint8)
    colours = bgr.reshape(JOINTS, MAX_ATHLETES, 3).transpose(1, 0, 2).copy()
    colours.setflags(write=False)
    return colours
