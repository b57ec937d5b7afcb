"""A picture that a program gives: is it one, and if it is too large, a smaller one.

Not for: frames, whose bytes are checked and decoded elsewhere (see `decoding.py`).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from kinestream_workers.engines import Image


def checked(image: Any) -> Image:
    """The image, its memory in one piece; raises `ValueError` for what is no BGR picture."""
    if not isinstance(image, np.ndarray):
        got = type(image).__name__
        if image is None:
            got = "None, which is what OpenCV gives when it cannot read a picture"
        raise ValueError(f"an image is a numpy array, uint8 [rows, columns, 3]; got {got}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"an image is uint8 [rows, columns, 3], BGR; got {image.dtype} {list(image.shape)}")
    return np.ascontiguousarray(image)


def shrunk(image: Image, max_side: int | None) -> Image:
    """The image, or a smaller one whose longer side has `max_side` pixels if it has more."""
    rows, columns = image.shape[:2]
    if max_side is None or max(rows, columns) <= max_side:
        return image
    scale = max_side / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    smaller: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)
