"""Running a plan: its Redis first, then whoever takes, then the cameras; and all of it ended in reverse.

Not for: keeping one part alive (`keeper.py`), nor the command (`kinestream.commands.up`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kinestream.cli import REDIS_URL_VARIABLE
from kinestream.embedded import find_redis_url
from kinestream.errors import KinestreamError, RedisUnavailable, UsageError
from kinestream.ledger import read_ledgers
from kinestream.logs import LOG_FORMAT_VARIABLE, logs_are_json
from kinestream.placeholders import fill_secrets
from kinestream.processes import Child, start_child
from kinestream.redis import check_server, connect, through_outages
from kinestream.runtimedir import RUNTIME_DIR_VARIABLE
from kinestream.up.keeper import LOOK_S, Keeper
from kinestream.up.parts import ENDING, Part, parts_of, redis_part
from kinestream.up.plan import Plan
from kinestream.up.wants import drop_all, want_all

DRAIN_S = 10.0
"""From the end of the cameras on, for workers to infer what waits: a recording is whole then."""

_PATIENCE_S = 3.0
"""For what is tidied up in Redis at the end: a server that hangs must not keep anybody."""

Say = Callable[[str, str], object]
"""Shows a line of a part, by its name."""


class Running:
    """One plan that runs in `folder`. `redis_url` is used in place of what the plan says."""

    def __init__(
        self, plan: Plan, *, folder: Path, producer: str, redis_url: str | None, say: Say, stop: asyncio.Event
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._producer = producer
        self._given_url = redis_url or (plan.redis_url and fill_secrets(plan.redis_url).source)
        self._say = say
        self._stop = stop
        self._environment: dict[str, str] = {}
        if runtime_dir := os.environ.get(RUNTIME_DIR_VARIABLE):  # a child may run elsewhere
            self._environment[RUNTIME_DIR_VARIABLE] = str(Path(runtime_dir).absolute())
        if logs_are_json():
            self._environment[LOG_FORMAT_VARIABLE] = "json"
        self._keeper = Keeper(self._start, lambda text: say("up", text))

    async def run(self) -> None:
        """Run until told to stop, and end everything in order.

        Raises `UsageError` if a part refuses its arguments, `RedisUnavailable` if there is no Redis, or none
        that may be used. Whatever it raises, no child is left.
        """
        try:
            url = await self._settled_url()
            if url is not None:
                self._environment[REDIS_URL_VARIABLE] = url
                async with connect(url) as client:
                    await self._run(client)
            await self._keeper.end("redis")
        finally:
            self._keeper.kill()

    async def _run(self, client: Redis) -> None:
        parts = parts_of(self._plan, producer=self._producer)
        try:
            self._keeper.add(part for part in parts if part.kind != "cameras")
            if self._plan.cameras:
                await through_outages(
                    lambda: self._want(client), what="telling which cameras are wanted", stop=self._stop
                )
            self._keeper.add(part for part in parts if part.kind == "cameras")
            while not self._stop.is_set():
                self._keeper.look()
                await self._pause(LOOK_S)
        except RedisUnavailable:
            if not self._stop.is_set():
                raise
        except KinestreamError:
            await self._end(client)
            raise
        await self._end(client)

    async def _want(self, client: Redis) -> None:
        await want_all(
            client, self._plan.cameras, producer=self._producer, say=lambda text: self._say("up", text)
        )

    async def _end(self, client: Redis) -> None:
        """End all but Redis: nothing comes any more, what is there is inferred, then recorded."""
        for kind in ENDING:
            if kind == "redis":
                continue
            await self._keeper.end(kind)
            if kind == "cameras":
                with contextlib.suppress(RedisError, TimeoutError):
                    await self._drain(client)

    async def _drain(self, client: Redis) -> None:
        """Let workers infer what waits, for a while; then the cameras are wanted no more."""
        names = {spec.name for spec in self._plan.cameras}
        if names and self._plan.workers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    while any(one.in_flight for one in await read_ledgers(client) if one.camera in names):
                        self._keeper.look()
                        await asyncio.sleep(LOOK_S / 4)
        if names:
            async with asyncio.timeout(_PATIENCE_S):
                await drop_all(client, self._plan.cameras, producer=self._producer)

    async def _settled_url(self) -> str | None:
        """The URL of a Redis that answers, be it one's own; None if told to stop before it does."""
        if self._given_url:
            return await self._awaited(self._given_url)
        with contextlib.suppress(RedisUnavailable):
            url = await asyncio.to_thread(find_redis_url, None)
            if self._plan.redis:
                raise UsageError(
                    "a Redis server is running for this user already, perhaps not with the file's options: "
                    "end it, or leave them out"
                )
            self._say("up", "a Redis server is running for this user already, and is used")
            return url
        return await self._own_server(redis_part(self._plan))

    async def _awaited(self, url: str) -> str | None:
        """Wait for a server that is away."""
        async with connect(url) as client:
            try:
                await through_outages(client.ping, what="starting", stop=self._stop)
            except RedisUnavailable:
                if self._stop.is_set():
                    return None
                raise
        await asyncio.to_thread(check_server, url)
        return url

    async def _own_server(self, part: Part) -> str | None:
        self._keeper.add([part])
        server = self._keeper.kept[0].child
        while not self._stop.is_set():
            if server is None or server.exit_code is not None:
                raise RedisUnavailable("the Redis server could not be started (see its line above)")
            with contextlib.suppress(RedisUnavailable):
                return await asyncio.to_thread(find_redis_url, None)
            await self._pause(LOOK_S / 4)
        return None

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _start(self, words: Sequence[str], name: str) -> Child:
        return start_child(
            words,
            name=name,
            say=lambda line: self._say(name, line),
            environment=self._environment,
            folder=self._folder,
            prefixed=False,
        )
