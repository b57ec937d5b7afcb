"""Reading video files: every frame that decodes, upright, with its true presentation time.

Exact rather than fast: one decoding thread, because libav's frame threads lose the last frames of a
damaged file without a word, and its slice threads hide damage in VP9. Pixels are the stored ones; where they
are not square, `VideoInfo` says so, and nothing is stretched.

A recording on another machine is read in the same way, through a `RemoteFilm`.

Not for: cameras and streams, which have no end, and no damage worth an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinestream.errors import SourceError
from kinestream.messages import MAX_PIXELS

Image = NDArray[np.uint8]
"""BGR, height×width×3."""

LIBAV_ERRORS = (av.error.FFmpegError, OSError)

TITLES = "replace"
"""What becomes of titles that are not UTF-8, as old files and some cameras have them: nobody reads them, and
they are no reason not to see the pictures."""

_FALLBACK_FPS = 25
"""For a stream that has neither times nor a rate; libav assumes the same of elementary streams."""


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One picture, turned upright, and its presentation time in seconds on the file's own clock."""

    image: Image
    media_time_s: float


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file promises; `width` and `height` are those of its first picture, turned upright.

    `pixel_aspect` is the width of a pixel by its height, of the upright picture: 4/3 for HDV.
    """

    width: int
    height: int
    frames: int | None
    duration_s: float | None
    average_fps: float | None
    pixel_aspect: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class RemoteFilm:
    """A recording behind a URL; errors call it `shown`, since the URL may hold a password.

    `options` are libav's; they should hold a `protocol_whitelist`. `timeout_s` is for each single read.
    """

    url: str = field(repr=False)
    shown: str
    options: Mapping[str, str]
    timeout_s: float

    def __str__(self) -> str:
        return self.shown


Film = str | Path | RemoteFilm
"""The path of a video file, or a recording behind a URL."""


def read_video(film: Film) -> Iterator[VideoFrame]:
    """Yield the pictures of a video file in the order in which they are shown.

    Times are `pts × time_base`, not shifted to begin at 0. A frame without one (elementary streams) comes one
    nominal frame duration after the frame before it. Damage does not end the reading: whatever decodes is
    yielded, concealed parts included, and `SourceError` comes after the last frame and names the first place;
    so it does for an MP4 that is shorter than its index says. A file that is missing, is no video, or has no
    frame at all raises `SourceError` before anything is yielded.
    """
    with _opened(film) as (container, stream):
        yield from _timed(str(film), container, stream)


def probe_video(film: Film) -> VideoInfo:
    """Read the head of a file and its first frame; raises `SourceError` as `read_video` does."""
    with _opened(film) as (container, stream):
        first = next(_timed(str(film), container, stream))
        duration_s = None
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            duration_s = container.duration / av.time_base
        return VideoInfo(
            width=first.image.shape[1],
            height=first.image.shape[0],
            frames=stream.frames or None,
            duration_s=duration_s,
            average_fps=float(stream.average_rate) if stream.average_rate else None,
            pixel_aspect=_pixel_aspect(stream, first.image),
        )


def _pixel_aspect(stream: VideoStream, upright: Image) -> Fraction:
    stored = stream.sample_aspect_ratio
    if not stored or stored <= 0:  # not known
        return Fraction(1)
    height, width = upright.shape[:2]
    is_turned = width != stream.width and (width, height) == (stream.height, stream.width)
    return 1 / stored if is_turned else stored


@contextmanager
def _opened(path: Film) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not isinstance(path, RemoteFilm) and not Path(path).exists():
        raise SourceError(f"there is no video file {path}")
    try:
        if isinstance(path, RemoteFilm):
            options, timeout_s = dict(path.options), path.timeout_s
            container = av.open(path.url, options=options, timeout=timeout_s, metadata_errors=TITLES)
        else:
            # "file:" keeps a path from being taken for a URL; a playlist must not lead to other machines.
            options = {"protocol_whitelist": "file"}
            container = av.open(f"file:{path}", options=options, metadata_errors=TITLES)
    except LIBAV_ERRORS as error:  # not chained: libav's text repeats a URL with its password
        raise SourceError(f"{path} cannot be read as a video: {reason(error)}") from None
    with container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams or container.format.name == "tty":  # libav plays any .txt as a film of its letters
            raise SourceError(f"{path} has no video in it")
        stream = streams[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise SourceError(f"{path}: a picture may have {MAX_PIXELS} pixels, got {width}x{height}")
        stream.thread_type = "NONE"
        yield container, stream


def _timed(path: str, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield every frame that decodes; raise `SourceError` after the last if there was damage, or none."""
    damage = ""
    yielded, time_s = 0, 0.0
    upright = _Upright()
    step_s = float(1 / (stream.guessed_rate or stream.average_rate or _FALLBACK_FPS))
    for frame in _frames(container, stream):
        if isinstance(frame, str):
            damage = damage or frame
            continue
        if frame.pts is not None and stream.time_base is not None:
            time_s = float(frame.pts * stream.time_base)
        elif yielded:
            time_s += step_s
        if frame.is_corrupt:
            damage = damage or f"at {time_s:.3f} s: a part of the picture is missing"
        yield VideoFrame(upright.picture(frame), time_s)
        yielded += 1
    if not yielded:
        raise SourceError(f"{path} has no frame that can be decoded")
    if damage:
        raise SourceError(f"{path} is damaged {damage}; {yielded} frames were read")


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame | str]:
    """Yield frames in the order in which they are shown and, where there is damage, a few words about it."""
    packets, place = 0, "at its start"
    try:
        for packet in container.demux(stream):
            if not packet.size:  # a picture that was never coded; to the decoder it would mean the end
                continue
            packets += 1
            if packet.pts is not None and packet.time_base is not None:
                place = f"at {float(packet.pts * packet.time_base):.3f} s"
            yield from _decoded(stream, packet, place)
    except LIBAV_ERRORS as error:
        yield f"{place}: {reason(error)}"
    yield from _decoded(stream, None, place)
    # Only an MP4's index lists every packet that must come; other formats index a few places for seeking.
    if "mp4" in container.format.name and packets < len(stream.index_entries):
        yield f"{place}: the file is cut short"


def _decoded(
    stream: VideoStream, packet: av.Packet[VideoStream] | None, place: str
) -> list[av.VideoFrame | str]:
    try:
        return [*stream.decode(packet)]
    except LIBAV_ERRORS as error:
        return [f"{place}: {reason(error)}"]


def reason(error: Exception) -> str:
    """What libav says went wrong, fit to follow a colon; of a URL it says nothing."""
    if isinstance(error, av.error.ExitError):  # "immediate exit requested": a timeout requested it
        return "nothing came in time"
    words = str(getattr(error, "strerror", None) or error)
    return words[:1].lower() + words[1:]


class _Upright:
    """Turns pictures as they are to be shown: quarter turns and mirrorings of the display matrix are applied.

    The matrix [[a, b, u], [c, d, v], [x, y, w]] takes stored (p, q) to shown (a p + c q + x, b p + d q + y);
    ISO/IEC 14496-12, `tkhd`. Phones and front cameras write its eight axis-parallel forms; others do nothing.
    """

    def __init__(self) -> None:
        self._rotation: int | None = None
        self._transposed = False
        self._across = self._down = 1

    def picture(self, frame: av.VideoFrame) -> Image:
        """The picture of a frame, upright."""
        # Asking a frame for its side data ties it into a cycle, and with it megabytes that only the garbage
        # collector frees. So the matrix is read again only if the rotation says that it has changed.
        if frame.rotation != self._rotation:
            self._rotation = frame.rotation
            self._read_matrix(frame)
        image: Image = frame.to_ndarray(format="bgr24")  # type: ignore[assignment]  # bgr24 is always uint8
        if self._transposed:
            image = image.transpose(1, 0, 2)
        return np.ascontiguousarray(image[:: self._down, :: self._across])

    def _read_matrix(self, frame: av.VideoFrame) -> None:
        self._transposed, self._across, self._down = False, 1, 1
        side_data = frame.side_data.get("DISPLAYMATRIX")
        if side_data is None:
            return
        a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5].tolist()  # type: ignore[call-overload]
        if a and d and not b and not c:
            self._across, self._down = _sign(a), _sign(d)
        elif b and c and not a and not d:
            self._transposed, self._across, self._down = True, _sign(c), _sign(b)


def _sign(number: int) -> int:
    return -1 if number < 0 else 1
