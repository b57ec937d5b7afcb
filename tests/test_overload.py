"""More cameras than a worker can serve: memory stays flat, shares fair, pictures fresh, every sum exact.

A short one of `bench/overload.py`, whose minute and figures it does not replace. Cameras are in this process,
the worker is one of its own. Not for: how fast anything is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from redis.asyncio import Redis

from frames import frame
from kinestream.keys import Keys
from kinestream.ledger import Ledger, read_ledgers
from kinestream.messages import Frame, PoseResult
from kinestream.redis import connect
from kinestream.run import Run
from kinestream_ingest.producer import Producer
from kinestream_ingest.sources import open_source
from pipeline import Command, seqs
from servers import Server
from waiting import wait_until

pytestmark = pytest.mark.timeout(180)

LOAD_S = 6.0

MAX_AGE_MS = 1000
"""What workers are given unless they are told otherwise."""


class Load:
    """A server, a worker process, and cameras that are told to stop all at once."""

    def __init__(self, redis: Redis, worker: Command) -> None:
        self.redis = redis
        self.worker = worker
        self._stop = asyncio.Event()
        self._cameras: list[asyncio.Task[None]] = []

    def camera(self, name: str, url: str, lane: Any = "live") -> None:
        """Start a camera whose pictures repeat, drawn and encoded beforehand."""
        source = open_source(url, pace="camera" if lane == "live" else "unpaced")
        # A film is not stopped: it ends once its last frame has found room.
        stop = self._stop if lane == "live" else asyncio.Event()
        producer = Producer(self.redis, source, camera=name, lane=lane, stop=stop)
        self._cameras.append(asyncio.create_task(producer.produce()))

    def trouble(self, offering: Callable[[Redis, asyncio.Event], Any]) -> None:
        """Start a camera of the test's own."""
        self._cameras.append(asyncio.create_task(offering(self.redis, self._stop)))

    async def ledgers(self) -> dict[str, Ledger]:
        return {ledger.camera: ledger for ledger in await read_ledgers(self.redis)}

    async def inferred(self, cameras: Iterable[str]) -> dict[str, int]:
        ledgers = await self.ledgers()
        return {name: ledgers[name].ok if name in ledgers else 0 for name in cameras}

    async def end(self) -> None:
        """Stop the cameras and wait until every frame has its outcome."""
        self._stop.set()
        await asyncio.gather(*self._cameras)

        async def settled() -> bool:
            return not any(ledger.in_flight for ledger in (await self.ledgers()).values())

        await wait_until(settled, "every frame to have its outcome", timeout=60)

    async def records(self) -> list[tuple[int, PoseResult]]:
        """Commit time on Redis's clock, and record."""
        entries = await self.redis.xrange(Keys().results)
        return [(int(name.split(b"-")[0]), PoseResult.unpack(entry[b"result"])) for name, entry in entries]

    async def memory_mb(self) -> dict[str, float]:
        """Of the worker, and of Redis's data without the results, which are kept for five minutes."""
        used = (await self.redis.info("memory"))["used_memory"]
        results = await self.redis.memory_usage(Keys().results, samples=100) or 0
        worker = psutil.Process(self.worker.pid).memory_info().rss
        return {"worker": worker / 1e6, "redis": (used - results) / 1e6}


@pytest.fixture
async def load(own_server: Callable[..., Server], tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Gives a function that starts a worker whose engine takes a stated time."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(base_ms: float, per_image_ms: float) -> Load:
            url = own_server().url
            model = tmp_path / "slow.timed"
            model.write_text(f"base_ms = {base_ms}\nper_image_ms = {per_image_ms}\n")
            worker = stack.enter_context(
                Command(tmp_path / "worker.txt", "worker", "--redis", url, "--model", model)
            )
            redis = await stack.enter_async_context(connect(url))
            await asyncio.to_thread(worker.wait_to_say, "ms a batch")
            return Load(redis, worker)

        yield start


async def test_ten_cameras_of_60_fps_into_a_slow_worker(load: Callable[..., Any]) -> None:
    running = await load(base_ms=20, per_image_ms=5)
    names = [f"camera-{number}" for number in range(10)]
    for number, name in enumerate(names):
        running.camera(name, f"testcard://?athletes=1&size=320x180&fps=60&loop=0.5&seed={number}")
    running.camera("film", "testcard://?athletes=1&size=320x180&fps=60&loop=0.5&seconds=2", "every-frame")

    async def all_there() -> bool:
        return all((await running.inferred(names)).values())

    await wait_until(all_there, "every camera to be served", timeout=60)
    before, early_mb = await running.inferred(names), await running.memory_mb()
    await asyncio.sleep(LOAD_S)
    after, late_mb = await running.inferred(names), await running.memory_mb()
    await running.end()

    for name, mb in late_mb.items():
        assert mb < early_mb[name] + 10, (name, early_mb, late_mb)
    shares = [after[name] - before[name] for name in names]
    assert min(shares) > 0.8 * max(shares) > 0, shares
    records, ledgers = await running.records(), await running.ledgers()
    for name in [*names, "film"]:
        told = Counter(seqs(record for _, record in records if record.camera == name))
        assert told == Counter(range(ledgers[name].produced)) and ledgers[name].balanced
    live = [(at_ms, record) for at_ms, record in records if record.camera != "film" and record.status == "ok"]
    began_ms = [at_ms - r.timings["inferred"] - r.captured_us / 1000 for at_ms, r in live]
    assert max(began_ms) < MAX_AGE_MS + 500, "what was inferred was fresh, but for its way to Redis and back"
    assert (ledgers["film"].produced, ledgers["film"].ok) == (120, 120)
    assert any(ledger.dropped for ledger in ledgers.values()), "no overload, so this test shows nothing"


async def flood(redis: Redis, stop: asyncio.Event) -> None:
    """Frames as fast as Redis takes them."""
    run = await Run.begin(redis, "trouble", lane="live")
    while not stop.is_set():
        await run.offer(frame(run, run.produced))
    await run.finish()


class _Garbage:
    """Stands for a frame whose message is no message."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._frame, name)

    def pack(self) -> bytes:
        return b"\xc1 this is no frame " * 50


async def garbage(redis: Redis, stop: asyncio.Event) -> None:
    """A hundred messages a second that cannot be read."""
    run = await Run.begin(redis, "trouble", lane="live")
    while not stop.is_set():
        await run.offer(_Garbage(frame(run, run.produced)))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
    await run.finish()


async def large(redis: Redis, stop: asyncio.Event) -> None:
    """Ten pictures of nearly 50 megapixels a second."""
    width, height = 8656, 5768
    picture = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
    run = await Run.begin(redis, "trouble", lane="live")
    while not stop.is_set():
        await run.offer(
            Frame(
                camera="trouble",
                run=run.number,
                seq=run.produced,
                captured_us=1,
                width=width,
                height=height,
                view=(0, 0, width, height),
                codec="jpeg",
                data=picture,
                lane="live",
            )
        )
        await asyncio.sleep(0.1)
    await run.finish()


@pytest.mark.parametrize("trouble", [flood, garbage, large])
async def test_a_camera_that_misbehaves_harms_nobody_else(
    load: Callable[..., Any], trouble: Callable[..., Any]
) -> None:
    running = await load(base_ms=4, per_image_ms=1)
    names = ["left", "middle", "right"]
    for number, name in enumerate(names):
        running.camera(name, f"testcard://?athletes=1&size=320x180&fps=15&loop=0.4&seed={number}")
    running.trouble(trouble)

    async def under_way() -> bool:
        ledgers = await running.ledgers()
        return (
            len(ledgers) == 4 and all(ledgers[name].ok for name in names) and ledgers["trouble"].produced > 20
        )

    await wait_until(under_way, "every camera to be served", timeout=60)
    before = await running.ledgers()
    await asyncio.sleep(LOAD_S / 2)
    after = await running.ledgers()
    await running.end()
    for name in names:
        ok, seen = after[name].ok - before[name].ok, after[name].produced - before[name].produced
        assert ok > 0.7 * seen > 0, f"{name} had {ok} of {seen} inferred"
    assert all(ledger.balanced for ledger in (await running.ledgers()).values())
    assert running.worker.runs
