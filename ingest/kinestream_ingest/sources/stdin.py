"""MJPEG from standard input: JPEGs one after another, as `ffmpeg -f mjpeg -` and camera tools write them.

Not for: MJPEG over HTTP (see `network.py`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import BinaryIO

import cv2
import numpy as np

from kinestream.errors import MessageError, SourceError
from kinestream.imageheader import encoded_size
from kinestream.messages import MAX_DATA_BYTES, MAX_PIXELS
from kinestream.video import Image
from kinestream_ingest.pacing import Pace
from kinestream_ingest.sources.readahead import ReadAhead
from kinestream_ingest.sources.source import NoPicture, SourceFrame

_BEGIN, _END = b"\xff\xd8\xff", b"\xff\xd9"
"""Start of an image and the next marker; end of an image (ITU T.81, annex B)."""

_SCAN = 0xDA

_READ_BYTES = 256 * 2**10


class StdinSource:
    """The pictures that come, captured when their last byte has arrived, to the end of the input.

    Pace `camera`, the default, lets the newest picture win. Raises `SourceError` if the input ends, or
    `timeout_s` seconds pass, before the first picture.
    """

    name = "stdin"
    description = "standard input"
    live = True
    returns = False
    clock = "arrival"
    frames = None
    fps = None

    def __init__(self, pace: Pace | None = None, *, timeout_s: float, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdin.buffer
        if self._stream.isatty():
            raise SourceError(
                "- reads MJPEG from standard input, which is a terminal: pipe something into it"
            )
        self._ahead = ReadAhead(
            self._pictures, newest_wins=pace in (None, "camera"), timeout_s=timeout_s, label="standard input"
        )
        try:
            self.height, self.width = self._ahead.first().picture("").shape[:2]
        except (SourceError, NoPicture) as error:
            raise SourceError(f"standard input gives no MJPEG: {error}") from None

    def repeats(self) -> Iterator[SourceFrame]:
        """Nothing: every picture is new."""
        yield from ()

    def __iter__(self) -> Iterator[SourceFrame]:
        return iter(self._ahead)

    def close(self) -> None:
        """End the iteration at once; the input is left alone."""
        self._ahead.close()

    def _pictures(self, closed: Callable[[], bool]) -> Generator[SourceFrame]:
        some = False
        for jpeg in jpegs(self._stream):
            if closed():
                return
            some = True
            yield SourceFrame(picture=partial(_decoded, jpeg), captured_us=time.time_ns() // 1000)
        if not some:
            raise SourceError("it ended before a picture came")


def jpegs(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the JPEGs in a stream as soon as each is complete; what stands between them is passed over.

    What is broken, or larger than a frame may be, is passed over too, so that memory stays bounded.
    """
    read = getattr(stream, "read1", stream.read)
    kept = bytearray()
    while more := read(_READ_BYTES):
        kept += more
        while (begin := kept.find(_BEGIN)) >= 0:
            del kept[:begin]
            end = _end(kept)
            if end is None and len(kept) <= MAX_DATA_BYTES:
                break
            if end:
                yield bytes(kept[:end])
            del kept[: end or len(_BEGIN)]
        else:
            del kept[: -len(_BEGIN)]


def _end(jpeg: bytearray) -> int | None:
    """Where the image ends that `jpeg` begins with; None if that has not come yet, 0 if it is broken.

    Segments are stepped over, for a small picture may be in them. Within the scan an end cannot occur by
    chance: each FF is followed by a zero or a restart marker there.
    """
    at = 2
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            return 0
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] == _SCAN:
            found = jpeg.find(_END, at + 2 + length)
            return None if found < 0 else found + len(_END)
        at += 2 + length
    return None


def _decoded(jpeg: bytes, label: str) -> Image:
    try:
        width, height = encoded_size("jpeg", jpeg)
    except MessageError as error:
        raise NoPicture("undecodable", f"undecodable: {error}") from None
    if width * height > MAX_PIXELS:
        raise NoPicture("too-large", f"a picture may have {MAX_PIXELS} pixels, got {width}x{height}")
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise NoPicture("undecodable", "undecodable: a damaged JPEG")
    return image  # type: ignore[return-value]
