"""Pictures of nothing, of every size and shape, for tests of what an engine does with pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIZES = [
    (640, 640), (1280, 720), (720, 1280), (1920, 1080), (1768, 994), (641, 479),
    (639, 640),
    (333, 777), (37, 53), (5, 3), (1, 1), (7, 640), (3600, 2700), (5000, 61), (640, 480),
]  # fmt: skip
"""(width, height): exact and inexact scales, portrait, odd, tiny, huge, long enough for int() to matter."""


def noise(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """An image of large and small blotches, so that both a cell's mean and single pixels matter."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 4, 3), np.uint8)
    image: NDArray[np.uint8] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = random.integers(0, 32, image.shape, np.uint8)
    return cv2.add(image, fine)


def blank(width: int, height: int, grey: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), grey, np.uint8)
