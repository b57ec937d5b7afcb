"""The mosaic over time: pictures with their poses become a video of a constant rate, in captured time.

Everything here blocks and computes, so it is called on a thread, always the same. Not for: the order of the
pictures (see `timeline.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinestream.drawing import Image, draw_people, write_line
from kinestream.errors import MessageError
from kinestream.logs import about
from kinestream.messages import Frame, PoseResult
from kinestream.video import VideoWriter
from kinestream_consumers.mosaic import Mosaic

FPS = 30

STALE_US = 1_000_000
"""A tile whose picture is older than this is dimmed: by then nobody would take it for live."""

LONGEST_PAUSE_US = 10_000_000
"""A pause up to this long becomes a still picture. A longer one is cut: a clock that jumps by a year must not
become a year of video.
"""

LATE_US = 1_000_000
"""A picture may be this much older than what is shown already; if it is older, its camera's clock went back.
Until then what comes late is shown late, and the video waits for nobody.
"""

_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2}
_REDUCED |= {4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}

_log = logging.getLogger(__name__)


class Film:
    """Writes `path` (H.264) with a tile for each of `cameras`; the file is begun with the first picture.

    `drawn` counts the pictures that were shown. Of two pictures of a camera within one tick of the video the
    later is drawn.
    """

    def __init__(self, path: Path, cameras: Sequence[str]) -> None:
        self.drawn = 0
        self._path = path
        self._mosaic = Mosaic(cameras)
        self._writer: VideoWriter | None = None
        self._tick = 0
        self._shift_us = dict.fromkeys(cameras, 0)  # from a camera's clock to the video's
        self._next: dict[str, tuple[PoseResult, Frame]] = {}  # what the next tick shows
        self._fresh_until: dict[str, int] = {}  # the tick from which on a bright tile is old
        self._over: set[str] = set()  # cameras whose run has ended
        self._jumped: set[str] = set()

    def show(self, result: PoseResult, packed: bytes) -> None:
        """Show the frame that an `ok` result tells of, or with an `end` that its camera shows nothing new.

        Raises `KinestreamError` if the file cannot be written.
        """
        if result.status == "end":
            self._over.add(result.camera)
            if result.camera in self._fresh_until:
                self._fresh_until[result.camera] = self._tick + 1
            return
        try:
            frame = Frame.unpack(packed)
        except MessageError as error:
            what = about(result.camera, result.run, result.seq)
            _log.warning("%s %d: no picture: %s", result.camera, result.seq, error, extra=what)
            return
        if self._writer is None:
            height, width = self._mosaic.canvas.shape[:2]
            self._writer = VideoWriter(self._path, width, height)
            self._shift_us = dict.fromkeys(self._shift_us, -frame.captured_us)
        self._write_until(self._tick_of(frame))
        self._over.discard(result.camera)
        self._next[result.camera] = result, frame

    def _tick_of(self, frame: Frame) -> int:
        """When the frame is to be shown, after a look at its camera's clock."""
        now_us = self._tick * 1_000_000 // FPS
        jump_us = frame.captured_us + self._shift_us[frame.camera] - now_us
        if not -LATE_US <= jump_us <= LONGEST_PAUSE_US:
            if frame.camera not in self._jumped:
                self._jumped.add(frame.camera)
                _log.warning(
                    "%s: frame %d was captured %.1f s after what is shown: the video leaves such jumps out",
                    frame.camera,
                    frame.seq,
                    jump_us / 1e6,
                )
            step_us = -(-1_000_000 // FPS)
            self._shift_us[frame.camera] += step_us - jump_us
            jump_us = step_us
        return max(self._tick, (now_us + jump_us) * FPS // 1_000_000)

    def _write_until(self, tick: int) -> None:
        """Draw what is to be shown now, and write the ticks up to `tick`, exclusive."""
        if tick > self._tick:
            for result, frame in self._next.values():
                self._draw(result, frame)
            self._next.clear()
        while self._tick < tick and self._writer:
            for camera in [name for name, until in self._fresh_until.items() if self._tick >= until]:
                self._mosaic.dim(camera)
                del self._fresh_until[camera]
            self._writer.write(self._mosaic.canvas, self._tick / FPS)
            self._tick += 1

    def _draw(self, result: PoseResult, frame: Frame) -> None:
        image = self._decoded(frame)
        if image is None:
            what = about(result.camera, result.run, result.seq)
            _log.warning("%s %d: its picture cannot be decoded", result.camera, result.seq, extra=what)
            return
        tile = self._mosaic.fitted(image)
        draw_people(tile, result.people, result.skeleton, view=frame.view)
        write_line(tile, f"{result.camera}  {result.seq}")
        self._mosaic.put(result.camera, tile)
        ticks = 1 if result.camera in self._over else STALE_US * FPS // 1_000_000
        self._fresh_until[result.camera] = self._tick + ticks
        self.drawn += 1

    def _decoded(self, frame: Frame) -> Image | None:
        """The frame's image (BGR), smaller if a tile needs no more; an EXIF orientation does not count."""
        columns, rows = frame.encoded_size()
        data = np.frombuffer(frame.data, np.uint8)
        if frame.codec == "raw":
            return data.reshape(rows, columns, 3)
        how = _REDUCED[self._mosaic.reduction(columns, rows)] | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            # None for most of what cannot be decoded, an error for the rest, and typed as if it were neither.
            image: Any = cv2.imdecode(data, how)
        except cv2.error:
            return None
        return image  # type: ignore[no-any-return]

    def close(self) -> None:
        """Finish the file. Raises `KinestreamError` if it cannot be written."""
        if self._writer is None:
            before = ", and what is there is from before" if self._path.exists() else ""
            _log.warning("no picture came, so %s was not written%s", self._path, before)
            return
        self._write_until(self._tick + 1)
        self._writer.close()

    def discard(self) -> None:
        """Give the file up."""
        if self._writer is not None:
            self._writer.discard()
