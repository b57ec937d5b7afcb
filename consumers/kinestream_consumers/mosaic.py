"""Several cameras in one picture: a tile each, in a grid. Not for: what is drawn on a tile."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = (640, 360)
"""Width and height of a tile in pixels: half of 1280×720, so that a JPEG can be decoded at half size."""


class Mosaic:
    """A picture with a tile for each of `cameras`; `canvas` is the picture (BGR)."""

    def __init__(self, cameras: Sequence[str]) -> None:
        columns = math.ceil(math.sqrt(len(cameras)))
        rows = math.ceil(len(cameras) / columns)
        self.canvas: NDArray[np.uint8] = np.full((rows * TILE[1], columns * TILE[0], 3), 24, np.uint8)
        self._corner = {
            camera: (index % columns * TILE[0], index // columns * TILE[1])
            for index, camera in enumerate(cameras)
        }

    def fit(self, width: int, height: int) -> float:
        """The scale at which a picture of this size fits a tile."""
        return min(TILE[0] / width, TILE[1] / height)

    def put(self, camera: str, image: NDArray[np.uint8]) -> None:
        """Show `image`, no larger than a tile, in the middle of the camera's tile."""
        x, y = self._corner[camera]
        height, width = image.shape[:2]
        left, top = x + (TILE[0] - width) // 2, y + (TILE[1] - height) // 2
        self.canvas[y : y + TILE[1], x : x + TILE[0]] = 24
        self.canvas[top : top + height, left : left + width] = image

    def dim(self, camera: str) -> None:
        """Darken the camera's tile: what it shows is old."""
        x, y = self._corner[camera]
        tile = self.canvas[y : y + TILE[1], x : x + TILE[0]]
        cv2.convertScaleAbs(tile, tile, 0.9)
