"""Draws people onto an image: boxes, limbs, keypoints; and a line of text. Not for: reading or writing
images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.messages import Person
from kinestream.skeletons import SKELETONS, Skeleton

DEFAULT_THRESHOLD = 0.3
"""Keypoints that score less are not drawn: a network places every joint, also those that it cannot see."""

Image = NDArray[np.uint8]
View = tuple[float, float, float, float]
Colour = tuple[int, int, int]
_Point = tuple[int, int]

_SUBPIXEL_BITS = 3
"""OpenCV draws at eighths of a pixel, which is what keeps a moving skeleton from trembling."""

_REACH = 1 << 14
"""Pixels. What is further away than this is not drawn: OpenCV's integers end somewhere behind it."""

_LEFT, _RIGHT, _CENTRE = (80, 175, 255), (255, 190, 60), (235, 235, 235)
"""BGR of the body's left side, right side and middle: orange, blue and white, told apart by the
colour-blind.
"""

_DETAIL = 0.5
"""How large the dots of a face or a hand are beside those of a joint, and how thick the lines between."""

_EDGE, _BOX = (30, 30, 30), (170, 170, 170)


def draw_people(
    image: Image,
    people: Sequence[Person],
    skeleton: str,
    *,
    view: View | None = None,
    threshold: float = DEFAULT_THRESHOLD,
) -> None:
    """Draw onto `image` (BGR, in place).

    `view` is the rectangle (x, y, w, h) of the source, in its pixels, that the image shows, whatever the size
    of the image; without it the image is the source itself. `skeleton` is the name in the record; keypoints
    of an unknown one are drawn without limbs. A person none of whose keypoints reaches `threshold` is left
    out.
    """
    known = SKELETONS.get(skeleton)
    place = _Place(image, view)
    # In proportion to the picture: a tile of a mosaic looks as the full picture would, but never like hair.
    width = max(2, round(max(image.shape[:2]) / 320))
    for person in people:
        points = {
            index: point
            for index, (x, y, score) in enumerate(person.keypoints)
            if score >= threshold and (point := place.fixed(x, y))
        }
        if person.keypoints and not points:
            continue
        corner, opposite = place.fixed(*person.box[:2]), place.fixed(*person.box[2:])
        if corner and opposite:
            cv2.rectangle(image, corner, opposite, _BOX, max(1, width // 3), cv2.LINE_AA, _SUBPIXEL_BITS)
        if known:
            _draw_limbs(image, known, points, width)
        for index, point in points.items():
            colour = _colour([known.names[index]]) if known else _CENTRE
            size = _DETAIL if known and index in known.details else 1.0
            radius = round(1.4 * width * size * (1 << _SUBPIXEL_BITS))
            cv2.circle(image, point, radius, _EDGE, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
            cv2.circle(image, point, round(0.7 * radius), colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_limbs(image: Image, skeleton: Skeleton, points: dict[int, _Point], width: int) -> None:
    limbs = [(start, end) for start, end in skeleton.limbs if start in points and end in points]
    for edge in (True, False):  # the dark edges of all limbs first, so that none cuts through another one
        for start, end in limbs:
            colour = _EDGE if edge else _colour([skeleton.names[start], skeleton.names[end]])
            fine = start in skeleton.details and end in skeleton.details
            thickness = max(1, round(width * _DETAIL)) if fine else width
            thickness += 2 if edge else 0
            cv2.line(image, points[start], points[end], colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def write_line(image: Image, text: str) -> None:
    """Write one line of text at the lower left of `image` (BGR, in place), made smaller if it is too
    long.
    """
    height, width = image.shape[:2]
    margin = max(2, height // 60)
    size = max(0.4, height / 900)
    wanted = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
    size *= min(1.0, (width - 3 * margin) / max(1, wanted))
    x, y = margin, height - margin - round(10 * size)
    # The edge is the same text around itself: a thicker one would be wider as well.
    for dx, dy, colour in ((-1, 0, _EDGE), (1, 0, _EDGE), (0, -1, _EDGE), (0, 1, _EDGE), (0, 0, _CENTRE)):
        cv2.putText(image, text, (x + dx, y + dy), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


class _Place:
    """Where positions in the source are in the image."""

    def __init__(self, image: Image, view: View | None) -> None:
        rows, columns = image.shape[:2]
        self._left, self._top, width, height = view or (0.0, 0.0, float(columns), float(rows))
        self._across, self._down = columns / width, rows / height

    def fixed(self, x: float, y: float) -> _Point | None:
        """A corner-based position in the source as OpenCV's fixed-point pixel centre, hence the half pixel.

        None if it is out of reach.
        """
        across, down = (x - self._left) * self._across, (y - self._top) * self._down
        if max(abs(across), abs(down)) > _REACH:
            return None
        unit = 1 << _SUBPIXEL_BITS
        return round((across - 0.5) * unit), round((down - 0.5) * unit)


def _colour(keypoints: Iterable[str]) -> Colour:
    """The colour of a keypoint, or of the limb between two: a side's if both belong to it, or one and the
    nose.
    """
    sides = {word for name in keypoints for word in name.split("_")} & {"left", "right"}
    return {"left": _LEFT, "right": _RIGHT}[sides.pop()] if len(sides) == 1 else _CENTRE
