"""The empty studio behind the athletes: a wall with a test card's circle and grey steps, and a floor with
lines a metre apart. All of it is grey.

Not for: anything that moves (see drawing.py).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from kinestream.testcard.stage import CAMERA_HEIGHT_M, FOCAL, horizon, near_scale

# Where the floor meets the wall: as far away as somebody who would be drawn at this part of the near size.
WALL_SIZE = 0.43
LINE_WIDTH_M = 0.022
# The steps of grey at the upper right, and the circle: the signs of a television test card.
STEPS = 8

_Plane = NDArray[np.float32]


@lru_cache(maxsize=4)
def backdrop(width: int, height: int) -> NDArray[np.uint8]:
    """The empty picture, (height, width, 3) uint8 BGR; read-only, copy it to draw on it."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    sky = horizon(width, height)
    near = CAMERA_HEIGHT_M * near_scale(width, height)  # how far below the horizon the nearest stand
    edge = sky + WALL_SIZE * near

    scale = np.maximum((y - sky) / CAMERA_HEIGHT_M, 1e-3)  # pixels a metre at the floor under this pixel
    across = (x - width / 2) / scale
    away = FOCAL * max(width, height) / scale
    # How much floor one pixel spans, across and away: lines thinner than that fade instead of flickering.
    lines = np.maximum(_lines(across, 1 / scale), _lines(away, away / np.maximum(y - sky, 1.0)))
    middle = np.exp(-(((x / width - 0.5) / 0.42) ** 2))
    pool = middle * np.exp(-(((y - sky - 0.90 * near) / (0.39 * near)) ** 2))
    floor = 54 + 48 * pool + 22 * lines * (0.3 + 0.7 * pool)

    wall = 33 + 30 * middle * np.exp(-(((y - edge) / (0.63 * near)) ** 2))
    wall = wall + _emblem(x, y, width, height)
    mix = np.clip((y - edge) + 0.5, 0.0, 1.0)
    grey = wall * (1 - mix) + floor * mix
    # A gap in the light along the foot of the wall sets it off from the floor.
    grey = grey - 12 * np.exp(-np.abs(y - edge) / (0.006 * height))
    if width > height:  # in a tall picture the caption needs the room
        _grey_steps(grey, width, height)
    # Less than a level of noise hides the steps of so slow a gradient; always the same noise.
    grey = grey + np.random.default_rng(0).uniform(-0.5, 0.5, grey.shape)
    tinted = np.stack([grey * 1.05, grey, grey * 0.985], axis=-1)
    picture: NDArray[np.uint8] = np.clip(tinted, 0, 255).astype(np.uint8)
    picture.setflags(write=False)
    return picture


def _lines(position: _Plane, pixel: _Plane) -> _Plane:
    """1 on the lines at whole metres, 0 between them, and their share of a pixel where they are thinner."""
    distance = np.abs(position - np.round(position))
    wide = np.maximum(LINE_WIDTH_M / 2, pixel / 2)
    share = np.minimum(LINE_WIDTH_M / 2 / wide, 1.0)
    return np.asarray(np.clip(1.5 - distance / wide, 0.0, 1.0) * share, np.float32)


def _emblem(x: _Plane, y: _Plane, width: int, height: int) -> _Plane:
    """A large circle and a grid, as faint as a watermark."""
    side = min(width, height)
    cell, line = 0.1 * side, max(0.0012 * side, 0.5)
    dx, dy = x - width / 2, y - height / 2
    circle = np.clip(1.5 - np.abs(np.hypot(dx, dy) - 0.44 * side) / line, 0.0, 1.0)
    grid = np.maximum(
        np.clip(1.0 - np.abs(dx - cell * np.round(dx / cell)) / line, 0.0, 1.0),
        np.clip(1.0 - np.abs(dy - cell * np.round(dy / cell)) / line, 0.0, 1.0),
    )
    return np.asarray(np.maximum(16 * circle, 6 * grid), np.float32)


def _grey_steps(grey: _Plane, width: int, height: int) -> None:
    """Write a staircase from black to white into the upper right corner."""
    side = 22 / 1280 * max(width, height)
    top, right = round(1.1 * side), width - round(1.3 * side)
    for step in range(STEPS):
        left = right - round((STEPS - step) * side)
        end = right - round((STEPS - step - 1) * side)
        level = 20 + 215 * step / (STEPS - 1)
        cv2.rectangle(grey, (left, top), (end - 1, top + round(side) - 1), level, cv2.FILLED)
