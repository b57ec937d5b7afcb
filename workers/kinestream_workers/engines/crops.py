"""A person cut out of a picture, as RTMPose wants to see one: upright, in the middle, with room around.

The arithmetic is rtmlib's, to the bit, as a network's answer depends on it. Not for: what the network makes
of it (`simcc.py`, `rtmpose.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream_workers.engines.engine import Image

PADDING = 1.25
"""How much longer and wider than the person's box the part of the picture is."""

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""What is taken off the three channels, and what they are divided by. The numbers were made for red, green,
blue; rtmlib applies them to blue, green, red as they are, and so do we.
"""

_NORMALISED = ((np.arange(256)[:, None] - np.array(MEAN)) / np.array(DEVIATION)).astype(np.float32)[None]
"""Of each of 256 values of the three channels, [1, 256, 3]: looking up is faster than calculating, and the
same.
"""


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of the picture that was cut out: its middle and its size (x, y), float32, in pixels."""

    centre: NDArray[np.float32]
    size: NDArray[np.float32]


def crop_into(image: Image, box: NDArray[np.float32], slot: NDArray[np.float32]) -> Crop:
    """Cut `box` (x1, y1, x2, y2) out of a BGR image, and put it into `slot` [3, H, W], normalised.

    What lies beyond the picture's edge is black. Source of the arithmetic: rtmlib, `RTMPose.preprocess`.
    """
    height, width = slot.shape[1:]
    crop = _crop(box, width / height)
    moved = cv2.warpAffine(image, _into(crop, width, height), (width, height), flags=cv2.INTER_LINEAR)
    for plane, channel in zip(slot, cv2.split(cv2.LUT(moved, _NORMALISED)), strict=True):
        np.copyto(plane, channel)
    return crop


def _crop(box: NDArray[np.float32], ratio: float) -> Crop:
    """The box, made longer or wider to `ratio`, width to height; in float32, as the boxes are."""
    low, high = box[:2], box[2:]
    width, height = (high - low) * np.float32(PADDING)
    if width > height * np.float32(ratio):
        height = width / np.float32(ratio)
    else:
        width = height * np.float32(ratio)
    return Crop((low + high) * np.float32(0.5), np.array((width, height), np.float32))


def _into(crop: Crop, width: int, height: int) -> NDArray[np.float64]:
    """The matrix [2, 3] that moves a crop to a picture of that size, from three points of each: the middle,
    the point above it at half of the width, and the one to the left of that.
    """
    (x, y), half = crop.centre, crop.size[0] * np.float32(0.5)
    there = _three_points(x, y, half)
    here = _three_points(*map(np.float32, (width * 0.5, height * 0.5, width * 0.5)))
    matrix: Any = cv2.getAffineTransform(there, here)
    return matrix  # type: ignore[no-any-return]


def _three_points(x: np.float32, y: np.float32, half: np.float32) -> NDArray[np.float32]:
    above = y - half
    return np.array([(x, y), (x, above), (x - (y - above), above)])  # rounded where rtmlib rounds
