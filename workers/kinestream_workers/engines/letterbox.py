"""The letterbox: an image scaled into one slot of the tensor that a network reads, channels first.

It is rtmlib's, to the pixel: the image scaled to fit, at the top left, size truncated by int(), bilinear, the
rest 114. A network's output depends on every one of these choices, which is why none of them is improved on
here. Every step writes into memory that is used again and again, and OpenCV releases the GIL meanwhile, so a
few threads can fill the slots of the next batch while the session runs this one.

Not for: decoding, nor for what the network makes of the tensor.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

PAD = 114
"""Grey of the padding, 0–255: what RTMO (as every network of the YOLOX family) was trained with."""


class Letterboxed:
    """A batch of letterboxed images: `tensor` is float32 [size, 3, H, W], BGR 0–255, `ratios` are network
    pixels per image pixel, one a slot.
    """

    def __init__(self, tensor: NDArray[np.float32]) -> None:
        """`tensor` is all padding. Raises `ValueError` if it has room for nobody."""
        if not len(tensor):
            raise ValueError("size must be at least 1, got 0")
        self.tensor = tensor
        self.ratios = [1.0] * len(tensor)
        # The rows and columns of a slot that are no padding. Most pictures are as large as the one before:
        # then a quarter of the slot, or more, need not be written again.
        self._covered: list[tuple[int, int] | None] = [(0, 0)] * len(tensor)

    def put(self, slot: int, image: NDArray[np.uint8]) -> None:
        """Letterbox a BGR image [rows, columns, 3] into its slot, whatever was there before."""
        fit = _fit(image, self.tensor[slot])
        covered, self._covered[slot] = self._covered[slot], None  # unknown, should it end half way
        _draw(image, self.tensor[slot], fit)
        if covered != (fit.rows, fit.columns):
            _pad(self.tensor[slot], fit)
        self._covered[slot] = fit.rows, fit.columns
        self.ratios[slot] = fit.ratio


def letterbox_into(image: NDArray[np.uint8], slot: NDArray[np.float32]) -> float:
    """Scale a BGR image [rows, columns, 3] into the top left of `slot` [3, H, W] (0–255), and pad the rest.

    Everything in the slot is overwritten. Returns network pixels per image pixel, rtmlib's ratio, the same
    for both axes: dividing by it brings coordinates back. Source of the arithmetic: rtmlib,
    `RTMO.preprocess`. Where rtmlib would scale one side of a very long image to nothing and fail, that side
    keeps one pixel.
    """
    fit = _fit(image, slot)
    _draw(image, slot, fit)
    _pad(slot, fit)
    return fit.ratio


class _Fit(NamedTuple):
    """How large an image is in its slot."""

    ratio: float
    rows: int
    columns: int


def _fit(image: NDArray[np.uint8], slot: NDArray[np.float32]) -> _Fit:
    rows, columns = image.shape[:2]
    height, width = slot.shape[1:]
    ratio: float = min(height / rows, width / columns)
    return _Fit(ratio, max(1, int(rows * ratio)), max(1, int(columns * ratio)))


def _draw(image: NDArray[np.uint8], slot: NDArray[np.float32], fit: _Fit) -> None:
    between, channels = _steps(fit.rows, fit.columns)
    scaled: Any = image
    if image.shape[:2] != (fit.rows, fit.columns):
        scaled = cv2.resize(image, (fit.columns, fit.rows), between, interpolation=cv2.INTER_LINEAR)
    # Channel by channel takes half the time of assigning a transposed view.
    for plane, channel in zip(slot, cv2.split(scaled, channels), strict=True):
        np.copyto(plane[: fit.rows, : fit.columns], channel)


def _pad(slot: NDArray[np.float32], fit: _Fit) -> None:
    slot[:, fit.rows :, :] = PAD
    slot[:, : fit.rows, fit.columns :] = PAD


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
