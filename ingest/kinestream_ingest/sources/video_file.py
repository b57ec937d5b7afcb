"""A video file, here or behind a URL, as a source: every frame with its true presentation time.

Not for: decoding (see `kinestream.video`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from kinestream.errors import SourceError
from kinestream.video import RemoteFilm, VideoFrame, probe_video, read_video
from kinestream_ingest.pacing import Clock, Pace
from kinestream_ingest.sources.source import SourceFrame, camera_name


class VideoFileSource:
    """The frames of one file, once, each captured as if the file were filmed from now on.

    So differences of `captured_us` are those of `media_time_s`, whatever the speed of reading; read faster
    than it was filmed, it runs ahead of the wall clock. The first frame is captured when iteration begins,
    also in a file whose own clock does not begin at 0. Raises `SourceError` if it cannot be opened or has no
    frame.
    """

    live = False
    returns = False
    clock = "file"

    def __init__(
        self, film: str | RemoteFilm, pace: Pace = "unpaced", *, name: str = "", description: str = ""
    ) -> None:
        """`film` is a path, or a recording behind a URL, which needs a `name` and a `description`."""
        self._film = film
        self._paced = pace != "unpaced"
        info = probe_video(film)
        self.name = name or camera_name(Path(str(film)).stem)
        self.description = description or Path(str(film)).name
        self.width, self.height = info.width, info.height
        self.frames = info.frames
        self.fps = info.average_fps
        self._clock = Clock()

    def repeats(self) -> Iterator[SourceFrame]:
        """Nothing: a film does not repeat itself."""
        yield from ()

    def __iter__(self) -> Iterator[SourceFrame]:
        began_us = time.time_ns() // 1000
        first_s: float | None = None
        try:
            for frame in read_video(self._film):
                if first_s is None:
                    first_s = frame.media_time_s
                if self._paced:
                    self._clock.wait_until(frame.media_time_s)
                if self._clock.stopped:
                    return
                yield _source_frame(frame, began_us + round(1e6 * (frame.media_time_s - first_s)))
        except SourceError as error:  # it becomes a record for everybody to read
            raise SourceError(str(error).replace(str(self._film), self.description)) from error

    def close(self) -> None:
        """End the iteration at its next frame."""
        self._clock.stop()


def _source_frame(frame: VideoFrame, captured_us: int) -> SourceFrame:
    return SourceFrame(
        picture=lambda label: frame.image, captured_us=captured_us, media_time_s=frame.media_time_s
    )
