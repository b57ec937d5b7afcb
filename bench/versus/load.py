"""The two loads that every contender is put under, and the lines by which it is told.

A contender is a process. It prints one line of JSON when it is ready, the ids of its processes by name; then
it reads commands and answers each with a line:

    flat FRAMES          as fast as it can         -> {"seconds": 1.5}
    paced FPS SECONDS    at a steady rate          -> {"latencies_ms": [...], "not_ok": 0, "parts_ms": {...}}

A latency is from the moment at which a frame is captured, which is when it is due, to the moment at which its
result is in the hands of whoever asked. A frame that cannot be sent when it is due is late from then on.
Not for: what the contenders do.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

PICTURES = 60
SIZE = (640, 480)


class Service(Protocol):
    """Answers one picture at a time, or `width` of them at once, each on a lane of its own from 0 on."""

    width: int

    async def ask(self, lane: int, jpeg: bytes) -> None:
        """Return when the result of this picture is there."""


def draw_jpegs(folder: Path) -> None:
    """Fill a folder with pictures of the test card, JPEGs of quality 85."""
    import cv2

    from kinestream.testcard import TestCard

    card = TestCard.parse(f"testcard://?athletes=4&motion=walk&size={SIZE[0]}x{SIZE[1]}")
    for index in range(PICTURES):
        encoded = cv2.imencode(".jpg", card.draw(index / 30), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        (folder / f"{index:02}.jpg").write_bytes(encoded.tobytes())


def read_jpegs(folder: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]


def tell(**what: Any) -> None:
    """One line of JSON to whoever started this process."""
    print(json.dumps(what), file=_OUT, flush=True)


_OUT = os.fdopen(os.dup(1), "w")
"""Standard output is for answers alone: libraries that print are sent to stderr."""
os.dup2(2, 1)


def answer(flat: Callable[[int], Any], paced: Callable[[float, float], Any], **pids: int) -> None:
    """Say that all is ready, and do what is told until standard input ends."""
    tell(pids=pids)
    for line in sys.stdin:
        match line.split():
            case ["flat", frames]:
                tell(**flat(int(frames)))
            case ["paced", fps, seconds]:
                tell(**paced(float(fps), float(seconds)))


def punctual_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose sleeps are not rounded up to whole milliseconds, as epoll's are: a camera that is
    late for that reason would be counted against whoever gets its frames.
    """
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def flat_loop(infer: Callable[[int], None], frames: int) -> dict[str, Any]:
    """One frame after the other in this thread."""
    begun_s = time.monotonic()
    for index in range(frames):
        infer(index)
    return {"seconds": time.monotonic() - begun_s}


def paced_loop(infer: Callable[[int], None], fps: float, seconds: float) -> dict[str, Any]:
    """The same, each frame when it is due or, if the one before took longer, after that."""
    begun_s, latencies = time.monotonic(), []
    for index in range(round(fps * seconds)):
        due_s = begun_s + index / fps
        time.sleep(max(0.0, due_s - time.monotonic()))
        infer(index)
        latencies.append(1000 * (time.monotonic() - due_s))
    return {"latencies_ms": latencies, "not_ok": 0, "parts_ms": {}}


async def flat(service: Service, jpegs: list[bytes], frames: int) -> dict[str, Any]:
    """Every lane asks again as soon as it has its answer."""
    left = iter(range(frames))

    async def ask(lane: int) -> None:
        for index in left:
            await service.ask(lane, jpegs[index % len(jpegs)])

    begun_s = time.monotonic()
    await asyncio.gather(*map(ask, range(service.width)))
    return {"seconds": time.monotonic() - begun_s}


async def paced(service: Service, jpegs: list[bytes], fps: float, seconds: float) -> dict[str, Any]:
    """Each frame when it is due, or when its lane has answered the one before."""
    begun_s, latencies = time.monotonic(), []

    async def ask(lane: int) -> None:
        for index in range(lane, round(fps * seconds), service.width):
            due_s = begun_s + index / fps
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            await service.ask(lane, jpegs[index % len(jpegs)])
            latencies.append(1000 * (time.monotonic() - due_s))

    await asyncio.gather(*map(ask, range(service.width)))
    return {"latencies_ms": latencies, "not_ok": 0, "parts_ms": {}}


def answer_with(loop: asyncio.Runner, service: Service, jpegs: list[bytes], **pids: int) -> None:
    """`answer` for a service."""

    def run(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        async def it() -> dict[str, Any]:
            return await work

        return loop.run(it())

    answer(
        lambda frames: run(flat(service, jpegs, frames)),
        lambda fps, seconds: run(paced(service, jpegs, fps, seconds)),
        **pids,
    )


if __name__ == "__main__":
    draw_jpegs(Path(sys.argv[1]))
