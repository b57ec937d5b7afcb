"""Writing video files: pictures with their own times, as H.264 in an MP4 that plays everywhere.

Not for: drawing on pictures, nor deciding which come (see `kinestream_consumers`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from kinestream.errors import KinestreamError, UsageError
from kinestream.video.reading import LIBAV_ERRORS, Image, reason

_TICK = Fraction(1, 90_000)
"""Seconds; 24, 25, 30, 50, 60 and 29.97 frames a second all fall on whole ticks."""

_NOMINAL_FPS = 30
"""Told to the encoder, which chooses the H.264 level by it; the times of the frames are their own."""

_BT709 = 1
"""ITU-T H.273's number. Players guess the colour matrix from the size of the picture unless they are told."""


class VideoWriter:
    """Writes one MP4: H.264, yuv420p, variable frame rate, its index at the front.

    The file gets its name only when it is whole, at `close`; until then it is a hidden file beside it. An odd
    width or height is made even by repeating the last column or row, since 4:2:0 has no half samples.
    """

    def __init__(
        self, path: str | Path, width: int, height: int, *, pixel_aspect: Fraction = Fraction(1)
    ) -> None:
        """Begin a file of `width`×`height` pixels, each `pixel_aspect` times as wide as high when played.

        Raises `UsageError` if it cannot be written there.
        """
        self.path = Path(path)
        self._shape = (height, width, 3)
        self._unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._last_tick: int | None = None
        self._closed = False
        self._container = av.open(
            f"file:{self._unfinished}", "w", format="mp4", container_options={"movflags": "+faststart"}
        )
        self._stream = self._container.add_stream("libx264", rate=_NOMINAL_FPS)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = _TICK
        context.sample_aspect_ratio = pixel_aspect
        context.options = {"preset": "veryfast", "crf": "20"}
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        try:
            self._container.start_encoding()
        except LIBAV_ERRORS as error:
            self.discard()
            raise UsageError(f"cannot write {path}: {reason(error)}") from error

    def write(self, image: Image, time_s: float) -> None:
        """Add a picture (BGR) that is shown from `time_s` on.

        Times must grow; one that does not is moved just behind the one before. Raises `ValueError` for a
        picture of another size, `KinestreamError` if the file cannot be written any further.
        """
        if image.shape != self._shape:
            raise ValueError(f"a picture of {self._shape} was wanted, got {image.shape}")
        even = np.pad(image, ((0, self._shape[0] % 2), (0, self._shape[1] % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="bgr24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        tick = round(time_s / _TICK)
        if self._last_tick is not None:
            tick = max(tick, self._last_tick + 1)
        self._last_tick = frame.pts = tick
        frame.time_base = _TICK
        self._encode(frame)

    def close(self) -> None:
        """Finish the file and give it its name; a writer that was given no picture leaves no file."""
        if self._closed:
            return
        if self._last_tick is None:
            self.discard()
            return
        self._encode(None)
        try:
            self._container.close()
            self._unfinished.replace(self.path)
        except LIBAV_ERRORS as error:
            self.discard()
            raise KinestreamError(f"cannot write {self.path}: {reason(error)}") from error
        self._closed = True

    def discard(self) -> None:
        """Give the file up: nothing is left of it, and a file that had its name before stays as it was."""
        self._closed = True
        with suppress(*LIBAV_ERRORS):
            self._container.close()
        self._unfinished.unlink(missing_ok=True)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except LIBAV_ERRORS as error:
            self.discard()
            raise KinestreamError(f"cannot write {self.path}: {reason(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, or discard it if the block was left by an error."""
        if error is None:
            self.close()
        else:
            self.discard()
