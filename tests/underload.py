"""Producers, workers and a reader as processes, under a steady load, on a server that a test troubles.

Not for: the trouble itself (see `test_redis_faults.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from redis.asyncio import Redis

from kinestream.delivery import untyped
from kinestream.keys import Keys
from kinestream.ledger import Ledger, read_ledger
from kinestream.messages import PoseResult
from kinestream.redis import connect
from pipeline import Command
from proxy import Proxy
from servers import BINARIES, Server
from waiting import wait_until

LANES = {"court": "live", "yard": "live", "gate": "every-frame"}
FPS = 15
CARD = f"testcard://?athletes=1&fps={FPS}&size=320x180&loop=1"
"""Without an end, drawn and encoded beforehand."""

RESUMED_S = 15.0
"""What a test allows on a machine that does much else; what it took is printed."""


class UnderLoad:
    """A server behind a proxy, a producer for each of `LANES`, two workers, and a reader of results."""

    def __init__(
        self,
        version: str,
        server: Server,
        proxy: Proxy,
        cameras: dict[str, Command],
        workers: list[Command],
        readers: list[Command],
    ) -> None:
        self.version = version
        self.server = server
        self.proxy = proxy
        self.cameras = cameras
        self.workers = workers
        self.readers = readers

    @property
    def processes(self) -> list[Command]:
        return [*self.cameras.values(), *self.workers, *self.readers]

    def runs(self, camera: str) -> list[int]:
        """The runs that a camera said it began."""
        said = self.cameras[camera].lines
        return [int(line.split(": run ")[1].split()[0]) for line in said if " begins, " in line]

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds of each process so far."""
        times = {command.log.stem: psutil.Process(command.pid).cpu_times() for command in self.processes}
        return {name: spent.user + spent.system for name, spent in times.items()}

    async def flows(self, since_ms: int) -> float:
        """Wait until every camera has an `ok` that was committed after `since_ms`; seconds that it took."""
        began_s = time.monotonic()
        async with connect(self.server.url) as redis:

            async def every_camera() -> bool:
                return await ok_since(redis, since_ms) >= set(LANES)

            await wait_until(every_camera, "an inferred frame of every camera", timeout=RESUMED_S)
        assert all(command.runs for command in self.processes), self.said()
        return time.monotonic() - began_s

    async def ledgers(self, camera: str) -> list[Ledger]:
        """The ledgers of all runs that a camera said it began, as far as Redis knows them."""
        async with connect(self.server.url) as redis:
            found = [await read_ledger(redis, camera, run) for run in self.runs(camera)]
        return [ledger for ledger in found if ledger is not None]

    async def records(self) -> list[PoseResult]:
        """All records that Redis has."""
        async with connect(self.server.url) as redis:
            entries = await untyped(redis).xrange(Keys().results)
        return [PoseResult.unpack(fields[b"result"]) for _, fields in entries]

    def said(self) -> str:
        """The last that each process said."""
        return "\n".join("\n".join(["--- " + one.log.stem, *one.lines[-40:]]) for one in self.processes)


async def ok_since(redis: Redis, since_ms: int) -> set[str]:
    """The cameras of which a frame was inferred and committed after this moment on Redis's clock."""
    entries = await untyped(redis).xrange(Keys().results, min=since_ms)
    records = [PoseResult.unpack(fields[b"result"]) for _, fields in entries]
    return {record.camera for record in records if record.status == "ok"}


async def now_ms(server: Server) -> int:
    """Redis's clock."""
    async with connect(server.url) as redis:
        seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


@contextlib.contextmanager
def under_load(folder: Path, version: str) -> Iterator[UnderLoad]:
    """Start it all, wait until every camera flows, and end it all."""
    server = Server(BINARIES[version]).start()
    proxy = Proxy(server.directory / "redis.sock")
    model = folder / "slow.timed"
    model.write_text("base_ms = 15\nper_image_ms = 2\n")
    try:
        with contextlib.ExitStack() as stack:
            common = ["--redis", proxy.url]
            words = ["worker", "--model", model, "--lease-ms", "1500", *common]
            workers = [
                stack.enter_context(Command(folder / f"{name}.txt", *words, "--name", name))
                for name in ("worker-1", "worker-2")
            ]
            cameras = {}
            for camera, lane in LANES.items():
                words = ["ingest", CARD, "--camera", camera, "--lane", lane, "--realtime", *common]
                cameras[camera] = stack.enter_context(Command(folder / f"{camera}.txt", *words))
            words = ["watch", "--order", "--format", "json", "--from", "beginning", *common]
            readers = [stack.enter_context(Command(folder / "watch.txt", *words))]
            running = UnderLoad(version, server, proxy, cameras, workers, readers)
            for worker in workers:
                worker.wait_to_say("ms a batch")
            asyncio.run(running.flows(0))
            yield running
            for command in running.processes:
                command.signal(signal.SIGCONT)
    finally:
        proxy.close()
        server.remove()
