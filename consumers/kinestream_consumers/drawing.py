"""Draws people onto an image: boxes, limbs, keypoints. Not for: reading or writing images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.messages import Person
from kinestream.skeletons import SKELETONS

DEFAULT_THRESHOLD = 0.3
"""Keypoints that score less are not drawn: the value that rtmlib's own drawing defaults to."""

_SUBPIXEL_BITS = 3
"""OpenCV draws at eighths of a pixel, which is what keeps a moving skeleton from trembling."""

_LEFT, _RIGHT, _CENTRE = (80, 175, 255), (255, 190, 60), (235, 235, 235)
"""BGR of the body's left side, right side and middle: orange, blue and white, told apart by the
colour-blind.
"""


def draw_people(
    image: NDArray[np.uint8],
    people: Sequence[Person],
    skeleton: str,
    *,
    scale: float = 1.0,
    threshold: float = DEFAULT_THRESHOLD,
) -> None:
    """Draw onto `image` (BGR, in place), which shows the whole source frame scaled by `scale`.

    `skeleton` is the name in the record; keypoints of an unknown one are drawn without limbs.
    """
    known = SKELETONS.get(skeleton)
    width = max(1, round(max(image.shape[:2]) / 480))
    for person in people:
        points = [_fixed(x * scale, y * scale) for x, y, _ in person.keypoints]
        seen = [score >= threshold for _, _, score in person.keypoints]
        corner, opposite = person.box[:2], person.box[2:]
        cv2.rectangle(
            image,
            _fixed(corner[0] * scale, corner[1] * scale),
            _fixed(opposite[0] * scale, opposite[1] * scale),
            (150, 150, 150),
            1,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )
        for start, end in known.limbs if known else ():
            if seen[start] and seen[end]:
                colour = _colour(known.names[end] if known else "")
                cv2.line(image, points[start], points[end], colour, width, cv2.LINE_AA, _SUBPIXEL_BITS)
        for index, point in enumerate(points):
            if seen[index]:
                colour = _colour(known.names[index] if known else "")
                radius = (2 * width) << _SUBPIXEL_BITS
                cv2.circle(image, point, radius, (30, 30, 30), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
                cv2.circle(image, point, radius * 3 // 4, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def write_line(image: NDArray[np.uint8], text: str, *, line: int = 0) -> None:
    """Write one line of text at the lower left of `image` (BGR, in place), `line` counted from the bottom."""
    size = max(0.4, image.shape[0] / 900)
    step = round(30 * size)
    at = (round(10 * size), image.shape[0] - round(12 * size) - line * step)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 3, cv2.LINE_AA)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (240, 240, 240), 1, cv2.LINE_AA)


def _fixed(x: float, y: float) -> tuple[int, int]:
    """A corner-based position as OpenCV's fixed-point pixel centre: that is where the half pixel goes."""
    unit = 1 << _SUBPIXEL_BITS
    return round((x - 0.5) * unit), round((y - 0.5) * unit)


def _colour(keypoint: str) -> tuple[int, int, int]:
    if keypoint.startswith("left"):
        return _LEFT
    return _RIGHT if keypoint.startswith("right") else _CENTRE
