"""Pictures in files as a source: a folder of them, what a pattern matches, or a single one.

Not for: animated pictures, which are films (see `video_file.py`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import cv2
import numpy as np

from kinestream.errors import SourceError, UsageError
from kinestream.messages import MAX_PIXELS
from kinestream.video import Image
from kinestream_ingest.pacing import Clock, Pace
from kinestream_ingest.sources.source import NoPicture, SourceFrame, camera_name

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".jp2",
        ".avif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    ]
)
"""What OpenCV reads, and a film is not."""

_STEP_S = 1.0
"""From one picture to the next unless somebody gives their rate: what makes a film of them shows each for a
second. The times of the files are not used: copying, unpacking and downloading change them."""


class ImagesSource:
    """Pictures in the natural order of their names (2 before 10), each once, upright as its EXIF says.

    `captured_us` counts from the start of reading, at the rate of `?fps=`, or else one picture a second;
    `media_time_s` is there only with a rate. Grey, 16-bit and transparent pictures become 8-bit colour
    without transparency. A picture that cannot be read is a frame given up on, `undecodable` or
    `unreadable`. Raises `SourceError` if there are no pictures, or none of them can be read.
    """

    live = False
    returns = False
    clock = "file"

    def __init__(self, text: str, pace: Pace | None = None) -> None:
        place, self.fps = _parse(text)
        self._paths = _find(place)
        self._paced = pace not in (None, "unpaced")
        self._clock = Clock()
        self.frames = len(self._paths)
        folder = Path(place).parent if has_magic(place) and not Path(place).exists() else Path(place)
        self.name = camera_name(folder.stem if folder.is_file() else folder.resolve().name, "pictures")
        self.description = f"{self.frames} picture{'s' * (self.frames > 1)}, {Path(place).name or place}"
        self.height, self.width = self._first().shape[:2]

    def repeats(self) -> Iterator[SourceFrame]:
        """Nothing: every picture comes once."""
        yield from ()

    def __iter__(self) -> Iterator[SourceFrame]:
        began_us = time.time_ns() // 1000
        step_s = 1 / self.fps if self.fps else _STEP_S
        for number, path in enumerate(self._paths):
            if self._paced:
                self._clock.wait_until(number * step_s)
            if self._clock.stopped:
                return
            yield SourceFrame(
                picture=partial(_picture, path),
                captured_us=began_us + round(1e6 * number * step_s),
                media_time_s=number * step_s if self.fps else None,
            )

    def close(self) -> None:
        """End the iteration at its next frame."""
        self._clock.stop()

    def _first(self) -> Image:
        """The first picture that can be read."""
        why = ""
        for path in self._paths:
            try:
                return _picture(path, "")
            except NoPicture as error:
                why = why or str(error)
        raise SourceError(f"none of {self.description} can be read; {why}")


def _picture(path: Path, label: str) -> Image:
    """Read one picture; raises `NoPicture`."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise NoPicture("unreadable", f"{path.name} cannot be read: {error.strerror}") from None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:  # OpenCV's own limit of pixels, among others
        raise NoPicture("undecodable", f"{path.name} is undecodable: {error.err}") from None
    if image is None:
        raise NoPicture("undecodable", f"{path.name} is undecodable: no picture, or a damaged one")
    height, width = image.shape[:2]
    if width * height > MAX_PIXELS:
        raise NoPicture("too-large", f"{path.name}: {MAX_PIXELS} pixels are allowed, got {width}x{height}")
    return image  # type: ignore[return-value]  # IMREAD_COLOR gives 8 bits


def _find(place: str) -> list[Path]:
    """The pictures that a path or a pattern stands for, in natural order."""
    path = Path(place)
    if path.is_dir():
        found, where = [*path.iterdir()], f"in the folder {place}"
    elif path.exists():
        found, where = [path], f"at {place}"
    elif has_magic(place):
        found, where = [Path(name) for name in glob(place, recursive=True)], f"that match {place}"  # noqa: PTH207
    else:
        raise SourceError(f"there is no picture {place or 'without a name'}")
    pictures = [one for one in found if one.suffix.lower() in SUFFIXES and one.is_file()]
    pictures = [one for one in pictures if not one.name.startswith(".")]  # such as macOS's ._1.jpg
    if not pictures:
        raise SourceError(f"there are no pictures {where}; their names end in .jpg, .png, .webp, .tif, …")
    return sorted(pictures, key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorts numbers in names by their value; any two names can be compared."""
    pieces = re.split(r"(\d+)", str(path))
    return [(0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces]


def _parse(text: str) -> tuple[str, float | None]:
    """The path or pattern, and the rate if there is one."""
    if not text.startswith("images://"):
        return text, None
    place, _, query = text.removeprefix("images://").partition("?")
    fps = None
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name != "fps":
            raise UsageError(f"unknown option {name} of images://; there is fps=25")
        if not re.fullmatch(r"\d+(\.\d+)?", value) or not float(value):
            raise UsageError(f"fps must be a number above 0, got {value}")
        fps = float(value)
    return unquote(place), fps
