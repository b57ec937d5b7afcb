"""The time of the wall clock as black and white squares in a picture's first rows, and back.

Needs nothing but Python for drawing, since the system's Python has nothing else. Not for: people's eyes.
"""

from __future__ import annotations

import time
from typing import Any

_SQUARE = 16
"""Pixels: a square survives H.264 and JPEG at any quality that is used here."""

_BITS = 40
_CHECK_BITS = 8
_TICKS = 10_000
"""A second; 40 bits go round in three years, and what is read was drawn lately."""

MIN_WIDTH = _SQUARE * (_BITS + _CHECK_BITS)

_BLACK, _WHITE = b"\x10" * _SQUARE, b"\xeb" * _SQUARE
_GREY = 0x80


def draw_clock(picture: bytearray, width: int, height: int) -> None:
    """Draw now into an I420 picture."""
    ticks = int(time.time() * _TICKS) % 2**_BITS
    word = ticks << _CHECK_BITS | _check(ticks)
    count = _BITS + _CHECK_BITS
    row = b"".join(_WHITE if word >> (count - 1 - bit) & 1 else _BLACK for bit in range(count))
    for y in range(_SQUARE):
        picture[y * width : y * width + len(row)] = row
    grey = bytes([_GREY]) * (len(row) // 2)
    for plane in (width * height, width * height * 5 // 4):
        for y in range(_SQUARE // 2):
            at = plane + y * width // 2
            picture[at : at + len(grey)] = grey


def read_clock(image: Any) -> float | None:
    """Seconds since 1970 as drawn into a BGR picture of the same size; None if they cannot be read."""
    grey = image[:_SQUARE].mean(axis=2)
    middle = grey[_SQUARE // 4 : -_SQUARE // 4]
    word = 0
    for bit in range(_BITS + _CHECK_BITS):
        left = bit * _SQUARE + _SQUARE // 4
        word = word << 1 | int(middle[:, left : left + _SQUARE // 2].mean() > 127)
    ticks = word >> _CHECK_BITS
    if word & (2**_CHECK_BITS - 1) != _check(ticks):
        return None
    now = int(time.time() * _TICKS)
    return (now - (now - ticks) % 2**_BITS) / _TICKS


def _check(ticks: int) -> int:
    return sum(ticks >> 8 * byte & 0xFF for byte in range(_BITS // 8)) & 0xFF
