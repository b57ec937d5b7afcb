"""A network camera (MJPEG over HTTP, on 127.0.0.1) that hangs, floods, sends garbage and cuts connections.

Its pictures are a few frames of the test card, drawn and encoded beforehand. Not for: reading one (that is
`kinestream ingest`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

FLOOD = 20
"""Times as many pictures when it floods."""

_LONGEST_REQUEST_S = 5.0


class NetworkCamera:
    """Serves `pictures` (JPEGs) over and over, `fps` a second, to whoever connects; an async context manager.

    `hanging`, `flooding` and `garbling` say how it misbehaves just now.
    """

    def __init__(self, pictures: Sequence[bytes], fps: float, *, port: int = 0) -> None:
        """`port` 0 is any free one."""
        self.hanging = self.flooding = self.garbling = False
        self._pictures = pictures
        self._garbage = [without_picture(picture) for picture in pictures]
        self._fps = fps
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._served: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it is, once it was entered."""
        if self._server is None:
            raise RuntimeError("the camera was not started")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/live"

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> NetworkCamera:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
        if self._served:
            await asyncio.wait(self._served)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(_LONGEST_REQUEST_S):
                    await reader.readuntil(b"\r\n\r\n")
                await self._send(writer)
        finally:
            self._writers.discard(writer)
            self._served.discard(task)
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
        number = 0
        while not writer.is_closing():
            if self.hanging:
                await asyncio.sleep(1 / self._fps)
                continue
            pictures = self._garbage if self.garbling else self._pictures
            picture = pictures[number % len(pictures)]
            part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            writer.write(head + part.encode() + picture + b"\r\n")
            await writer.drain()
            head = b""
            number += 1
            await asyncio.sleep(1 / (self._fps * (FLOOD if self.flooding else 1)))


def test_card_pictures(url: str) -> list[bytes]:
    """The pictures of one loop of a test card, as JPEGs."""
    import cv2

    from kinestream.testcard import TestCard

    card = TestCard.parse(url)
    pictures = []
    for number in range(card.loop_frames or 1):
        _, encoded = cv2.imencode(".jpg", card.draw(card.frame_time(number)))
        pictures.append(encoded.tobytes())
    return pictures


def without_picture(jpeg: bytes) -> bytes:
    """A JPEG that tells its size, and ends before its picture begins (SOS, then EOI)."""
    return jpeg[: jpeg.index(b"\xff\xda")] + b"\xff\xd9"
