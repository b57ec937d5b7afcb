"""Several cameras in one picture: a tile each, in a grid. Not for: what is drawn on a tile."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from kinestream.drawing import Image

_WIDEST = 1920
"""Columns of the whole picture: what every player and encoder takes, however many cameras there are."""

_ONE, _SEVERAL = 1280, 640
"""Columns of a tile that is alone, and of one among others; they are 16:9, and JPEGs of 1280×720 can be
decoded at half size for the latter.
"""

_EMPTY = 24
"""Grey of what no picture covers."""


class Mosaic:
    """A picture with a tile for each of `cameras`; `canvas` is the picture (BGR), `tile` a tile's (width,
    height).
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        columns = math.ceil(math.sqrt(len(cameras)))
        rows = math.ceil(len(cameras) / columns)
        width = min(_ONE if len(cameras) == 1 else _SEVERAL, _WIDEST // columns) // 2 * 2
        height = width * 9 // 16 // 2 * 2  # even, as H.264 wants the whole
        self.tile = (width, height)
        self.canvas: Image = np.full((rows * height, columns * width, 3), _EMPTY, np.uint8)
        self._corner = {
            camera: (index % columns * width, index // columns * height)
            for index, camera in enumerate(cameras)
        }

    def reduction(self, width: int, height: int) -> int:
        """How many times smaller (1, 2, 4 or 8) an image may be decoded and still fill a tile, without a
        remainder.
        """
        for times in (8, 4, 2):
            large = width >= times * self.tile[0] or height >= times * self.tile[1]
            if large and width % times == height % times == 0:
                return times
        return 1

    def fitted(self, image: Image) -> Image:
        """A copy of `image` (BGR) scaled to fit a tile, its proportions kept."""
        height, width = image.shape[:2]
        scale = min(self.tile[0] / width, self.tile[1] / height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if size == (width, height):
            return image.copy()
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(image, size, interpolation=how)  # type: ignore[return-value]

    def put(self, camera: str, image: Image) -> None:
        """Show `image`, no larger than a tile, in the middle of the camera's tile."""
        tile = self._tile_of(camera)
        tile[:] = _EMPTY
        height, width = image.shape[:2]
        left, top = (self.tile[0] - width) // 2, (self.tile[1] - height) // 2
        tile[top : top + height, left : left + width] = image

    def dim(self, camera: str) -> None:
        """Darken the camera's tile: what it shows is no longer so."""
        tile = self._tile_of(camera)
        tile[:] = tile // 5 * 2

    def _tile_of(self, camera: str) -> Image:
        x, y = self._corner[camera]
        return self.canvas[y : y + self.tile[1], x : x + self.tile[0]]
