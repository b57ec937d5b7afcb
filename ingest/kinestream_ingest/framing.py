"""Turning a camera's picture upright, and cutting out the region of it that matters.

What comes out is smaller, so it costs less to encode, carry and infer; where it belongs is in the frame's
`view`, and results come back in pixels of the whole upright picture. Outside of a polygon the picture is
blanked: its bounding box is what travels. Not for: reading a region (see `kinestream.region`), shrinking
(`encoder.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kinestream.region import Box, Region, bounds, check_rotation
from kinestream.video import Image

BLANK = 114
"""Grey of what lies outside of a polygon: the colour that RTMO's letterbox pads with, so that the network has
learned to see nothing in it."""

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True, slots=True)
class Framed:
    """A picture to encode; `view` is where it lies in the upright picture, which is `width` by `height`."""

    picture: Image
    view: Box
    width: int
    height: int


@dataclass(slots=True)
class _Cut:
    """What is cut from pictures of one size: `view` of the upright picture, `place` of the picture as it
    comes.

    `mask` is 255 inside of a polygon and `canvas` grey outside of it; both None for a box.
    """

    size: tuple[int, int]
    view: Box
    place: Box
    mask: Image | None
    canvas: Image | None


class Framing:
    """Turns pictures by `rotate` degrees clockwise and cuts out `region`; for one thread.

    Raises `UsageError` for another rotation than 0, 90, 180 or 270.
    """

    def __init__(self, region: Region | None = None, *, rotate: int = 0) -> None:
        self._region = region
        self._rotate = check_rotation(rotate)
        self._cut: _Cut | None = None

    def upright(self, width: int, height: int) -> tuple[int, int]:
        """The size of the upright picture, for a picture of this size."""
        return (height, width) if self._rotate % 180 else (width, height)

    def check(self, width: int, height: int) -> None:
        """Raise `UsageError` unless the region lies in the upright picture of a source of this size."""
        if self._region is not None:
            self._region.corners(*self.upright(width, height))

    def frame(self, picture: Image) -> Framed:
        """Turn and cut one picture, which is left as it is. What comes out may be overwritten by the next
        call.

        Raises `UsageError` if the region does not lie in it.
        """
        height, width = picture.shape[:2]
        upright = self.upright(width, height)
        if self._region is None:
            return Framed(self._turned(picture), (0, 0, *upright), *upright)
        cut = self._cut
        if cut is None or cut.size != (width, height):
            cut = self._cut = self._cut_of(self._region, width, height)
        x, y, columns, rows = cut.place
        part = self._turned(picture[y : y + rows, x : x + columns])
        if cut.mask is not None and cut.canvas is not None:
            cv2.copyTo(part, cut.mask, cut.canvas)  # outside, the canvas stays grey from call to call
            part = cut.canvas
        return Framed(part, cut.view, *upright)

    def _turned(self, picture: Image) -> Image:
        if not self._rotate:
            return picture
        return cv2.rotate(picture, _TURNS[self._rotate])  # type: ignore[return-value]

    def _cut_of(self, region: Region, width: int, height: int) -> _Cut:
        upright = self.upright(width, height)
        corners = region.corners(*upright)
        view = bounds(corners)
        place = _before_turning(view, upright, self._rotate)
        if region.box:
            return _Cut((width, height), view, place, None, None)
        x, y, columns, rows = view
        mask = np.zeros((rows, columns), np.uint8)
        # OpenCV counts from pixels' centres, and takes whole numbers of a 256th of a pixel.
        inside = np.array([(px - x - 0.5, py - y - 0.5) for px, py in corners])
        cv2.fillPoly(mask, [np.rint(inside * 256).astype(np.int32)], (255,), shift=8)
        return _Cut((width, height), view, place, mask, np.full((rows, columns, 3), BLANK, np.uint8))


def _before_turning(view: Box, upright: tuple[int, int], rotate: int) -> Box:
    """Where a box of the upright picture lies in the picture that `rotate` degrees clockwise made it."""
    x, y, columns, rows = view
    width, height = upright
    match rotate:
        case 90:  # the upright picture's left column was the picture's bottom row
            return y, width - x - columns, rows, columns
        case 180:
            return width - x - columns, height - y - rows, columns, rows
        case 270:
            return height - y - rows, x, rows, columns
        case _:
            return view
