"""The Redis of a run: `kinestream redis` in a place of its own, with its data, to kill, freeze, restart.

It writes its append-only file before it answers (`appendfsync always`), so that a kill -9 loses nothing that
was acknowledged, and the sums can be exact. With `everysec`, the command's own setting, a kill loses what was
answered while the disk was busy (docs/reliability.md).

Not for: what is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import redis.asyncio
from redis.exceptions import RedisError

from kinestream.chaos.actors import READY_S, Actor, Process, identify, is_alive, until
from kinestream.delivery import untyped
from kinestream.errors import KinestreamError
from kinestream.keys import GROUP, Keys
from kinestream.runtimedir import RUNTIME_DIR_VARIABLE

MAXMEMORY = "512mb"

_PAUSE_S = 0.02
_PATIENCE_S = 1.0


class Server:
    """A server on a unix socket in `place`, whose path must be short; it keeps its data in `place` too."""

    def __init__(self, place: Path, folder: Path, say: Callable[[str], object]) -> None:
        self.place = place / "run"
        words = ["redis", "--data", str(place / "data"), "--maxmemory", MAXMEMORY]
        environment = {RUNTIME_DIR_VARIABLE: str(self.place)}
        self.actor = Actor(
            "redis",
            "redis",
            lambda generation: words,
            ready="Redis is ready",
            folder=folder,
            environment=environment,
            say=say,
        )
        self.url = f"unix://{quote(str(self.place / 'redis.sock'))}"
        self.process = Process(0, 0)
        """Redis-server itself, whose parent the command is."""
        self.processes: list[Process] = []

    async def start(self) -> None:
        """Start it, again if need be, and wait until it serves."""
        self.actor.start()
        await self.until_back()

    async def until_back(self) -> int:
        """Wait until it serves, and return when it did, in milliseconds since 1970."""
        deadline = time.monotonic() + READY_S
        async with self._client() as client:
            while True:
                with contextlib.suppress(RedisError, OSError):
                    self.process = identify(int((await client.info("server"))["process_id"]))
                    back_ms = time.time_ns() // 1_000_000
                    await client.config_set("appendfsync", "always")
                    break
                if self.actor.child.exit_code is not None:
                    raise KinestreamError(f"Redis does not come up: {self.actor.last_line}")
                if time.monotonic() > deadline:
                    raise KinestreamError(f"Redis does not serve: see {self.actor.log}")
                await asyncio.sleep(_PAUSE_S)
        if self.process not in self.processes:
            self.processes.append(self.process)
        return back_ms

    async def restart(self, down_s: float) -> int:
        """End it as an operator would, and start it again; return when it was back."""
        return await self._down(down_s, lambda: self.actor.send(signal.SIGTERM))

    async def kill(self, down_s: float) -> int:
        """End redis-server at once, and start it again; return when it was back."""
        return await self._down(down_s, lambda: os.kill(self.process.pid, signal.SIGKILL))

    async def freeze(self, frozen_s: float) -> int:
        """Let it hang, and go on; return when it answered again."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(frozen_s)
        finally:
            os.kill(self.process.pid, signal.SIGCONT)
        return await self.until_back()

    async def stop(self) -> int:
        """End it for good; return the command's exit code."""
        self.actor.absent = True
        self.actor.send(signal.SIGTERM)
        await self._until_ended()
        return self.actor.child.wait()

    async def used_bytes(self) -> int | None:
        """Its memory besides results and dead letters, which it keeps on purpose; None if it is away."""
        keys = Keys()
        with contextlib.suppress(RedisError, OSError):
            async with self._client() as client:
                used = int((await client.info("memory"))["used_memory"])
                for kept in (keys.results, keys.dead):
                    used -= await untyped(client).memory_usage(kept, samples=100) or 0
                return used
        return None

    async def pending(self, worker: str, cameras: Sequence[str]) -> int:
        """How many frames of these cameras a worker holds; 0 if it is away."""
        frames = 0
        with contextlib.suppress(RedisError, OSError):
            async with self._client() as client:
                for camera in cameras:
                    for consumer in await untyped(client).xinfo_consumers(Keys().frames(camera), GROUP):
                        frames += consumer["pending"] if consumer["name"] == worker.encode() else 0
        return frames

    async def _down(self, down_s: float, end: Callable[[], None]) -> int:
        self.actor.absent = True
        end()
        await self._until_ended()
        await asyncio.sleep(down_s)
        self.actor.start()
        return await self.until_back()

    async def _until_ended(self) -> None:
        def ended() -> bool:
            return self.actor.child.exit_code is not None and not is_alive(self.process)

        await until(ended, READY_S, "Redis to end")

    def _client(self) -> redis.asyncio.Redis:
        """One that gives up soon: whoever asks here wants to know whether the server serves."""
        client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            self.url, protocol=2, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S
        )
        return client
