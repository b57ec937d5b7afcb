"""Cameras and recordings that are reached by a URL: RTSP, and MJPEG or anything else that libav reads over
HTTP.

What has a known length is a recording, and is read like a file. Everything else is a camera: its pictures are
captured when they arrive, or when the camera says (see `cameraclock.py`), and it never just ends: a stream
that is over has broken.

Not for: connecting again (see `feed.py`).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import partial

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from kinestream.errors import SourceError
from kinestream.messages import MAX_PIXELS
from kinestream.video import Image, RemoteFilm
from kinestream.video.reading import LIBAV_ERRORS, TITLES, reason
from kinestream_ingest.pacing import Pace
from kinestream_ingest.sources.address import Address, parse_address
from kinestream_ingest.sources.cameraclock import CameraClock
from kinestream_ingest.sources.hardware import hardware
from kinestream_ingest.sources.readahead import TIMEOUT_S, ReadAhead
from kinestream_ingest.sources.rtspoptions import Options, take_options
from kinestream_ingest.sources.source import Away, NoPicture, Refused, Source, SourceFrame
from kinestream_ingest.sources.video_file import VideoFileSource

_RTSP = {
    "rtsp_transport": "tcp",  # over UDP a lost packet is a grey picture, and firewalls stand in the way
    "allowed_media_types": "video",
    "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls,http,https,httpproxy",
}
_UDP = {"rtsp_transport": "udp", "protocol_whitelist": f"{_RTSP['protocol_whitelist']},udp"}
_HTTP = {"protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto,data"}  # no file: a playlist may lead us

_PROBING = {"analyzeduration": "100000", "fpsprobesize": "0"}
"""Of a camera only its codec need be known before the first picture: a tenth of a second, in place of the two
seconds in which libav would find out its frame rate, and that would be two seconds of old pictures."""

_LATER_S = 1.0
"""By how much libav waits longer than `ReadAhead`, which then has said already that nothing came: libav calls
it now a timeout, now invalid data. What is left for libav is to end the thread that waits."""


class _Recording(Exception):
    """What was opened as a camera has a known length."""


class NetworkCamera:
    """A live camera behind a URL. `captured_us` is when the packet came that completed the picture, or when
    the picture was taken by the camera's clock (see `clock`).

    Packets before the first one that decodes are skipped without a word: who joins a stream waits for its
    next keyframe. Later ones that do not decode are frames without a picture, `undecodable`.
    With `complete` no picture gives way: the camera is kept waiting, and may end the connection.
    """

    live = True
    returns = True
    frames = None

    def __init__(
        self,
        address: Address,
        options: Options | None = None,
        *,
        complete: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Connect and wait for the first picture; raises `SourceError`, without credentials."""
        self.name = address.camera
        self.description = address.shown
        self.fps: float | None = None
        self._options = options or Options()
        self._clock = CameraClock(self._options.clock)
        self._ahead = ReadAhead(
            partial(self._read, address, timeout_s),
            newest_wins=not complete,
            timeout_s=timeout_s,
            label=address.shown,
        )
        try:
            self.height, self.width = self._ahead.first().picture("").shape[:2]
        except SourceError as error:
            raise type(error)(f"cannot watch {address.shown}: {error}") from None

    def _read(self, address: Address, timeout_s: float, closed: Callable[[], bool]) -> Generator[SourceFrame]:
        container = _connect(address, self._options, timeout_s)
        with container:
            if container.duration is not None:
                raise _Recording
            stream = _video(container)
            if stream.average_rate and 1 <= stream.average_rate <= 240:  # else libav has guessed
                self.fps = float(stream.average_rate)
            yield from _pictures(container, stream, self._clock, closed, timeout_s)

    @property
    def clock(self) -> str:
        """`camera` while its own clock is told and near ours, else `arrival`."""
        return self._clock.name

    def repeats(self) -> Iterator[SourceFrame]:
        """Nothing: every picture is new."""
        yield from ()

    def __iter__(self) -> Iterator[SourceFrame]:
        return iter(self._ahead)

    def close(self) -> None:
        """End the iteration at once; the connection is closed when its next packet comes, or in time."""
        self._ahead.close()


def open_network(url: str, *, pace: Pace | None = None, timeout_s: float = TIMEOUT_S) -> Source:
    """Connect to a camera or a recording, and read its first picture.

    Pace `camera`, the default, lets the newest picture win; otherwise every picture is waited for. Raises
    `SourceError`, one line without credentials, if it cannot be read or does not answer within `timeout_s`
    seconds.
    """
    url, ours = take_options(url)
    address = parse_address(url)
    try:
        return NetworkCamera(address, ours, complete=pace not in (None, "camera"), timeout_s=timeout_s)
    except _Recording:
        options = _RTSP if address.scheme.startswith("rtsp") else _HTTP
        film = RemoteFilm(address.url, address.shown, options, timeout_s)
        return VideoFileSource(film, pace or "unpaced", name=address.camera, description=address.shown)


def _connect(address: Address, ours: Options, timeout_s: float) -> InputContainer:
    options = _HTTP | _PROBING
    if address.scheme.startswith("rtsp"):
        options = _RTSP | (_UDP if ours.transport == "udp" else {}) | _PROBING
    try:
        return av.open(
            address.url,
            options=options,
            timeout=timeout_s + _LATER_S,
            metadata_errors=TITLES,
            hwaccel=hardware(ours.decoder),
        )
    except LIBAV_ERRORS as error:  # not chained: the text of libav's error repeats the URL
        if isinstance(error, av.error.HTTPClientError):  # RTSP has the same numbers
            raise Refused(reason(error)) from None
        unknown_host = error.errno == errno.EIO  # so libav says that a name has no address
        raise Away(reason(error) + (", is the host's name right?" * unknown_host)) from None


def _video(container: InputContainer) -> VideoStream:
    if not container.streams.video:
        raise SourceError("there is no video in it")
    stream = container.streams.video[0]
    stream.thread_type = "SLICE"  # threads that share a picture; those that each have one would add delay
    return stream


def _pictures(
    container: InputContainer,
    stream: VideoStream,
    clock: CameraClock,
    closed: Callable[[], bool],
    timeout_s: float,
) -> Generator[SourceFrame]:
    """Yield the pictures of a camera as they arrive; raise `SourceError` when it stops.

    It also stops when nothing that came for `timeout_s` seconds could be decoded, as after a change of codec.
    """
    begun = False
    decoded_s = time.monotonic()
    try:
        for packet in container.demux(stream):
            arrived_us = time.time_ns() // 1000
            if closed():
                return
            if not packet.size:
                continue
            _note_reference(clock, packet, arrived_us)
            try:
                decoded = stream.decode(packet)
            except LIBAV_ERRORS as error:
                if begun:
                    if time.monotonic() - decoded_s > timeout_s:
                        why = f"nothing that it sent for {timeout_s:g} s can be decoded"
                        raise Away(f"{why}: {reason(error)}") from None
                    stream_us = _stream_us(packet.pts, packet.time_base)
                    yield timed(partial(_undecodable, reason(error)), clock, stream_us, arrived_us)
                continue
            for frame in decoded:
                if frame.width * frame.height > MAX_PIXELS:
                    raise SourceError(
                        f"a picture may have {MAX_PIXELS} pixels, got {frame.width}x{frame.height}"
                    )
                begun = True
                decoded_s = time.monotonic()
                stream_us = _stream_us(frame.pts, frame.time_base)
                yield timed(partial(_convert, frame), clock, stream_us, arrived_us)
    except LIBAV_ERRORS as error:
        if error.errno != errno.EIO:  # so libav calls an end that HTTP did not announce
            raise Away(f"the connection broke: {reason(error)}") from None
    raise Away("the connection was closed" if begun else "it ended before a picture could be decoded")


def timed(
    picture: Callable[[str], Image], clock: CameraClock, stream_us: int | None, arrived_us: int
) -> SourceFrame:
    """A picture with its time, and the clock that this is by: that of the next one may be another."""
    captured_us = clock.captured_us(stream_us, arrived_us)
    return SourceFrame(picture=picture, captured_us=captured_us, clock=clock.name)


def _note_reference(clock: CameraClock, packet: av.Packet[VideoStream], arrived_us: int) -> None:
    """Tell the clock what the camera said about its own."""
    stream_us = _stream_us(packet.pts, packet.time_base)
    if not hasattr(packet, "has_sidedata"):  # an older PyAV: times are those of arrival
        return
    if stream_us is not None and packet.has_sidedata("prft"):
        clock.note(stream_us, bytes(packet.get_sidedata("prft")), arrived_us)


def _stream_us(pts: int | None, time_base: Fraction | None) -> int | None:
    return None if pts is None or time_base is None else round(1_000_000 * pts * time_base)


def _convert(frame: av.VideoFrame, label: str) -> Image:
    image: Image = frame.to_ndarray(format="bgr24")  # type: ignore[assignment]  # bgr24 is always uint8
    return image


def _undecodable(why: str, label: str) -> Image:
    raise NoPicture("undecodable", f"undecodable: {why}")
