"""The part of a camera's picture that matters, as somebody wrote it down: a box or a polygon.

    640,0,640,720                        a box: x, y, width, height in pixels
    50%,0%,50%,100%                      the same in percent of the picture's width and height
    10%,90% 40%,20% 60%,20% 90%,90%      a polygon: its corners, three or more

Pixels are those of the upright picture (after `rotate`, before any shrinking), which are the results' pixels:
a place can be copied from one to the other. Percents fit every size of picture. Not for: cutting pictures
(see `kinestream_ingest.framing`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kinestream.errors import UsageError

ROTATIONS = (0, 90, 180, 270)
"""Degrees clockwise by which a camera's picture is turned to stand upright."""

SMALLEST = 16
"""Pixels of a side: nobody can be found in less, and it is no typing mistake that is worth a run."""

_NUMBER = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(%?)")
_MAX_POINTS = 100
_GRAIN = 1e-6  # pixels: percents of whole pixels are rarely whole in binary

Point = tuple[float, float]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Region:
    """Corners (x, y) in pixels, or in hundredths of width and height if `percent`; `box` if it has four sides
    that are upright.

    Made by `parse_region`. `text` is how it was written.
    """

    text: str
    points: tuple[Point, ...]
    percent: bool
    box: bool

    def corners(self, width: int, height: int) -> list[Point]:
        """The corners in pixels of a picture of this size.

        Raises `UsageError` if it does not lie in such a picture, or is too small in it.
        """
        across, down = (width / 100, height / 100) if self.percent else (1.0, 1.0)
        corners = [(x * across, y * down) for x, y in self.points]
        right, bottom = max(x for x, _ in corners), max(y for _, y in corners)
        if right > width + _GRAIN or bottom > height + _GRAIN:
            raise UsageError(
                f"the region {self.text} reaches beyond the picture: it goes to {right:g},{bottom:g}, "
                f"and the upright picture is {width}x{height}"
            )
        _, _, columns, rows = bounds(corners)
        if min(columns, rows) < SMALLEST:
            raise UsageError(
                f"the region {self.text} is {columns}x{rows} pixels of the picture of {width}x{height}, "
                f"and must be at least {SMALLEST}x{SMALLEST}"
            )
        return corners


def bounds(corners: Sequence[Point]) -> Box:
    """The smallest box (x, y, width, height) of whole pixels that holds all corners."""
    left, top = (math.floor(min(one[axis] for one in corners) + _GRAIN) for axis in (0, 1))
    right, bottom = (math.ceil(max(one[axis] for one in corners) - _GRAIN) for axis in (0, 1))
    return left, top, right - left, bottom - top


def parse_region(text: str) -> Region:
    """Read a region as it is written; raises `UsageError`."""
    groups = text.split()
    if len(groups) == 1:
        numbers, percent = _numbers(text, groups)
        if len(numbers) != 4:
            raise _wrong(text)
        x, y, width, height = numbers
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        _check_size(text, corners, percent, min(width, height))
        return Region(text, tuple(corners), percent, box=True)
    if not 3 <= len(groups) <= _MAX_POINTS or any(group.count(",") != 1 for group in groups):
        raise _wrong(text)
    numbers, percent = _numbers(text, groups)
    corners = list(zip(numbers[::2], numbers[1::2], strict=True))
    _, _, columns, rows = bounds(corners)
    if abs(_area(corners)) < 1e-3:
        raise UsageError(
            f"the corners of the region {text} enclose nothing: they lie on one line, or it is crossed"
        )
    _check_size(text, corners, percent, min(columns, rows))
    return Region(text, tuple(corners), percent, box=False)


def region_text(value: Any) -> str:
    """The region as text, of a text, or of a list [x, y, width, height] or [[x, y], …] of pixels, as in YAML.

    Raises `UsageError` if it is no region.
    """
    if isinstance(value, str):
        text = " ".join(value.split())
    elif isinstance(value, list | tuple):
        groups = value if all(isinstance(one, list | tuple) for one in value) else [value]
        text = " ".join(",".join(map(_number_text, group)) for group in groups[: _MAX_POINTS + 1])
    else:
        text = repr(value)
    return parse_region(text).text


def check_rotation(degrees: int) -> int:
    """Return `degrees` if a picture can be turned by it, else raise `UsageError`."""
    if type(degrees) is not int or degrees not in ROTATIONS:
        raise UsageError(f"rotate must be 0, 90, 180 or 270, got {degrees}")
    return degrees


def _number_text(number: object) -> str:
    """A number without an exponent; anything else as something that is no number."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return repr(number)[:20]
    return f"{number:.6f}".rstrip("0").rstrip(".")


def _numbers(text: str, groups: Sequence[str]) -> tuple[list[float], bool]:
    """All numbers of a region in a row, and whether they are percents."""
    found = [_NUMBER.fullmatch(word) for group in groups for word in group.split(",")]
    signs = {match[2] for match in found if match}
    if None in found:
        raise _wrong(text)
    if len(signs) != 1:
        raise UsageError(f"a region is all in pixels or all in percent, got {text}")
    return [float(match[1]) for match in found if match], signs == {"%"}


def _check_size(text: str, corners: Sequence[Point], percent: bool, shortest: float) -> None:
    """Refuse what is wrong whatever the size of the picture."""
    if percent and max(max(corner) for corner in corners) > 100 + _GRAIN:
        raise UsageError(f"the region {text} reaches beyond 100%")
    if shortest <= 0 or (not percent and shortest < SMALLEST):
        raise UsageError(f"a region must be at least {SMALLEST}x{SMALLEST} pixels, got {text}")


def _area(corners: Sequence[Point]) -> float:
    """The area that a polygon encloses (Gauss); negative if its corners go round the other way."""
    following = [*corners[1:], corners[0]]
    return (
        sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in zip(corners, following, strict=True)) / 2
    )


def _wrong(text: str) -> UsageError:
    shown = text if len(text) <= 80 else text[:80] + "…"
    return UsageError(
        "a region is a box X,Y,WIDTH,HEIGHT or a polygon X,Y X,Y X,Y…, in pixels or with % behind each "
        f"number, got {shown!r}"
    )
