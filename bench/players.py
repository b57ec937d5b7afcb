"""The programs that `two_hosts.py` starts on its hosts, and what they are given.

    python bench/players.py camera URL NAME LANE FPS FRAMES PREFIX FOLDER    offers the JPEGs of a folder
    python bench/players.py worker URL NAME MS                               a worker whose engine only waits

Not for: measuring (see `two_hosts.py`).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kinestream.delivery import Limits
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.messages import Frame, Lane, Person
from kinestream.redis import connect
from kinestream.run import Run

WIDTH, HEIGHT = 1280, 720
PICTURES = 30
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.005, 0.05
"""Before a frame is offered again that found the lane full, longer each time, as `kinestream ingest` does."""


def draw_jpegs(folder: Path) -> int:
    """Fill a folder with pictures of the test card, and return how many bytes they have on average."""
    import cv2

    from kinestream.testcard import TestCard

    card = TestCard.parse(f"testcard://?athletes=4&motion=walk&size={WIDTH}x{HEIGHT}")
    folder.mkdir()
    sizes = []
    for index in range(PICTURES):
        data = cv2.imencode(".jpg", card.draw(index / 15), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        (folder / f"{index:02}.jpg").write_bytes(data)
        sizes.append(len(data))
    return round(statistics.mean(sizes))


async def camera(
    url: str, name: str, lane: Lane, fps: float, frames: int, prefix: str, jpegs: Sequence[bytes]
) -> dict[str, float]:
    """Offer so many frames, `fps` a second or (0) one after the other; how long that took, and one PING."""
    limits = Limits() if prefix == "ks" else Limits(every_frame_room=frames)  # nobody takes them
    async with connect(url) as redis:
        pings = []
        for _ in range(20):
            asked_s = time.perf_counter()
            await redis.ping()
            pings.append(time.perf_counter() - asked_s)
        run = await Run.begin(redis, name, lane=lane, keys=Keys(prefix), limits=limits)
        begun_s = time.monotonic()
        for seq in range(frames):
            if fps:
                await asyncio.sleep(max(0.0, begun_s + seq / fps - time.monotonic()))
            frame = Frame(
                camera=name,
                run=run.number,
                seq=seq,
                captured_us=time.time_ns() // 1000,
                width=WIDTH,
                height=HEIGHT,
                view=(0, 0, WIDTH, HEIGHT),
                codec="jpeg",
                data=jpegs[seq % len(jpegs)],
                lane=lane,
            )
            pause_s = SHORTEST_PAUSE_S
            while await run.offer(frame) == "full":
                await asyncio.sleep(pause_s)
                pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
        seconds = time.monotonic() - begun_s
        await run.finish()
    return {"seconds": seconds, "ping_ms": 1000 * statistics.median(pings)}


class WaitingEngine:
    """Takes so many milliseconds for each image, of which it needs no core: as if a GPU were at work."""

    suffixes = ()
    name = "waiting"
    skeleton = "coco17"
    description = "an engine that only waits"

    def __init__(self, ms: float) -> None:
        self._ms = ms

    def new_batch(self, size: int) -> list[None]:
        return [None] * size

    def fill(self, batch: list[None], slot: int, image: object) -> None:
        pass

    def infer(self, batch: list[None], slots: Sequence[int]) -> list[tuple[Person, ...]]:
        time.sleep(self._ms * len(slots) / 1000)
        return [()] * len(slots)

    def close(self) -> None:
        pass


async def worker(url: str, name: str, ms: float) -> None:
    """Work until SIGTERM, a frame at a time."""
    from kinestream.processes import capture_signals
    from kinestream_workers.settings import WorkerSettings
    from kinestream_workers.worker import Worker

    settings = WorkerSettings(name=name, max_batch=1)
    print(f"{ms:.0f} ms a batch of 1", flush=True)
    with capture_signals() as stop:
        async with connect(url) as redis:
            await Worker(GroupConsumer(redis, name), WaitingEngine(ms), settings).run(stop)


def main() -> None:
    match sys.argv[1:]:
        case ["camera", url, name, ("live" | "every-frame") as lane, fps, frames, prefix, folder]:
            jpegs = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
            told = asyncio.run(camera(url, name, lane, float(fps), int(frames), prefix, jpegs))
            print(json.dumps(told))
        case ["worker", url, name, ms]:
            asyncio.run(worker(url, name, float(ms)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
