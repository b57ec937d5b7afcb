"""The letterbox: an image scaled into one slot of the tensor that a network reads, channels first.

It is rtmlib's, to the pixel: the image scaled to fit, at the top left, size truncated by int(), bilinear, the
rest 114. A network's output depends on every one of these choices, which is why none of them is improved on
here. Every step writes into memory that is used again and again, and OpenCV releases the GIL meanwhile, so a
few threads can fill the slots of the next batch while the session runs this one.

Not for: decoding, nor for what the network makes of the tensor.
"""

from __future__ import annotations

import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

PAD = 114
"""Grey of the padding, 0–255: what RTMO (as every network of the YOLOX family) was trained with."""


def letterbox_into(image: NDArray[np.uint8], slot: NDArray[np.float32]) -> float:
    """Scale a BGR image [rows, columns, 3] into the top left of `slot` [3, H, W] (0–255), and pad the rest.

    Everything in the slot is overwritten. Returns network pixels per image pixel, rtmlib's ratio, the same
    for both axes: dividing by it brings coordinates back. Source of the arithmetic: rtmlib,
    `RTMO.preprocess`. Where rtmlib would scale one side of a very long image to nothing and fail, that side
    keeps one pixel.
    """
    rows, columns = image.shape[:2]
    height, width = slot.shape[1:]
    ratio: float = min(height / rows, width / columns)
    scaled_width, scaled_height = max(1, int(columns * ratio)), max(1, int(rows * ratio))
    between, channels = _steps(scaled_height, scaled_width)
    scaled: Any = image
    if (scaled_width, scaled_height) != (columns, rows):
        scaled = cv2.resize(image, (scaled_width, scaled_height), between, interpolation=cv2.INTER_LINEAR)
    # Channel by channel takes half the time of assigning a transposed view.
    for plane, channel in zip(slot, cv2.split(scaled, channels), strict=True):
        np.copyto(plane[:scaled_height, :scaled_width], channel)
    slot[:, scaled_height:, :] = PAD
    slot[:, :scaled_height, scaled_width:] = PAD
    return ratio


_of_thread = threading.local()


def _steps(rows: int, columns: int) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """This thread's memory for the scaled image and for its three channels.

    Kept from image to image: memory that the allocator gives back to the system costs a page fault for
    every 4 KB when it is touched again, more than the arithmetic does.
    """
    steps: tuple[NDArray[np.uint8], list[NDArray[np.uint8]]] | None = getattr(_of_thread, "steps", None)
    if steps is None or steps[0].shape[:2] != (rows, columns):
        steps = (
            np.empty((rows, columns, 3), np.uint8),
            [np.empty((rows, columns), np.uint8) for _ in range(3)],
        )
        _of_thread.steps = steps
    return steps
