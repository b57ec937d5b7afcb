"""One process that serves many cameras: what is wanted is read again and again, and obeyed.

Each wanted camera is claimed (see `kinestream.claims`), read by threads of its own and offered by a task of
its own, so a camera that hangs, fails or is far away holds up no other. Its threads can be left behind; what
cannot be (a crash of libav ends the process) is what several producers are for: another one takes over.

Redis that comes back empty has forgotten what is wanted. Who read it last tells it again.

Not for: one camera (see `served.py`), nor the command (see `producer_cli.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from kinestream.abandoned import end_abandoned_runs
from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import BEAT_S, CameraState, camera_states, forget_state, tell_states
from kinestream.claims import LEASE_MS, announce, chosen, claim, owners, release, withdraw
from kinestream.delivery import Limits, untyped
from kinestream.keys import Keys
from kinestream.logs import about
from kinestream.redis import is_away, reason
from kinestream.tasks import cancel
from kinestream.wanted import Wanted, digest, read_wanted, remember_wanted
from kinestream_ingest.feed import Feed
from kinestream_ingest.served import Served

TICK_S = 0.5
"""Between two looks at what is wanted: obeyed within two seconds, connecting included."""

_QUIET_S = 1.0
"""For so long a producer that has just started takes no camera that others may serve as well: those that
start with it are heard of first. Twice as long after an outage, since others may find Redis back later.
"""

_PATIENT_S = 2.0
"""For so long a producer takes no more than its share, so that others which start with it get theirs."""

_HOUSE_S = 10.0
"""Between two looks for runs whose producers are gone."""

_log = logging.getLogger(__name__)


class Service:
    """Serves wanted cameras as the producer `name` until `stop` is set.

    `make` makes what serves one camera; tests have one of their own.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        name: str,
        owner: str,
        stop: asyncio.Event,
        max_cameras: int | None = None,
        keys: Keys | None = None,
        limits: Limits | None = None,
        make: Callable[[CameraSpec], Served] | None = None,
    ) -> None:
        """`owner` is unique among all producers that ever were, `name` need not be."""
        self.name = name
        self.owner = owner
        self.serving: dict[str, Served] = {}
        self._redis = redis
        self._stop = stop
        self._max_cameras = max_cameras
        self._keys = keys or Keys()
        self._limits = limits
        self._make = make or self._served
        self._quiet_until = time.monotonic() + _QUIET_S
        self._patient_until = time.monotonic() + _PATIENT_S
        self._last: Wanted | None = None
        self._told: dict[str, str] = {}
        self._told_s = 0.0
        self._away = False

    @property
    def feeds(self) -> list[Feed]:
        """The feeds of all cameras that have been connected."""
        return [served.feed for served in [*self.serving.values()] if served.feed is not None]

    async def serve(self) -> None:
        """Serve until told to stop; then every run is ended, and every camera given back."""
        house = asyncio.create_task(self._keep_house(), name="keeping house")
        try:
            while not self._stop.is_set():
                await self._tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), TICK_S)
        finally:
            await cancel(house)
            await self._end_all()

    async def _tick(self) -> None:
        """Read what is wanted, and obey; while Redis is away everybody goes on with what they have."""
        try:
            await self._obey()
            await self._tell()
        except OutOfMemoryError as error:  # claims and states wait until there is room; frames have theirs
            self._complain(error)
        except RedisError as error:
            if not is_away(error):
                raise
            self._complain(error)
            # The claims may have run out meanwhile. Who had them shall have them again.
            self._quiet_until = time.monotonic() + 2 * _QUIET_S
            self._patient_until = time.monotonic() + LEASE_MS / 1000
        else:
            if self._away:
                _log.warning("Redis is back, what is wanted is read again")
            self._away = False

    def _complain(self, error: RedisError) -> None:
        if not self._away:
            _log.warning("what is wanted cannot be read, the cameras go on as they are: %s", reason(error))
        self._away = True

    async def _obey(self) -> None:
        wanted = await self._read_wanted()
        done = await untyped(self._redis).hgetall(self._keys.finished)
        now = {
            name: spec
            for name, spec in wanted.specs.items()
            if not spec.paused
            and spec.producer in (None, self.name)
            and done.get(name.encode()) != digest(spec).encode()
        }
        alive = await announce(self._redis, self.owner, keys=self._keys)
        mine = await claim(self._redis, self.owner, [*self.serving], keys=self._keys)
        for name, served in [*self.serving.items()]:
            await self._look_after(name, served, now.get(name), name in mine)
            if served.finished:  # since it was read what is finished
                now.pop(name, None)
        await self._take_more(now, alive)

    async def _look_after(self, name: str, served: Served, spec: CameraSpec | None, is_mine: bool) -> None:
        """End what is not wanted, or not so, or not ours any more; begin anew what is wanted otherwise."""
        if not is_mine and not served.stop.is_set():
            _log.warning("%s: another producer serves it by now", name, extra=about(name))
            served.stop.set()
        elif spec is None or digest(spec) != digest(served.spec):
            served.stop.set()
        if not served.ended:
            return
        if served.finished:
            await self._note_finished(served)
        del self.serving[name]  # not before that: what fails is done again, and nothing is read twice
        if is_mine and spec is not None and not served.finished:
            self._begin(spec)
            return
        if is_mine:
            await release(self._redis, self.owner, name, keys=self._keys)
        if not served.finished:
            await forget_state(self._redis, name, self.name, keys=self._keys)

    async def _note_finished(self, served: Served) -> None:
        await untyped(self._redis).hset(self._keys.finished, served.spec.name, digest(served.spec))
        await tell_states(self._redis, [served.state()], keys=self._keys)

    async def _take_more(self, now: dict[str, CameraSpec], alive: int) -> None:
        if time.monotonic() < self._quiet_until:
            now = {name: spec for name, spec in now.items() if spec.producer is not None}
        found = chosen(
            now.values(),
            name=self.name,
            serving=self.serving,
            owners=await owners(self._redis, [*now], keys=self._keys),
            alive=alive,
            max_cameras=self._max_cameras,
            patient=time.monotonic() < self._patient_until,
        )
        for name in sorted(await claim(self._redis, self.owner, found, keys=self._keys)):
            self._begin(now[name])

    def _begin(self, spec: CameraSpec) -> None:
        _log.info("%s: served from now on", spec.name, extra=about(spec.name))
        served = self.serving[spec.name] = self._make(spec)
        served.start()

    def _served(self, spec: CameraSpec) -> Served:
        return Served(self._redis, spec, producer=self.name, keys=self._keys, limits=self._limits)

    async def _read_wanted(self) -> Wanted:
        wanted = await read_wanted(self._redis, keys=self._keys)
        if self._last is not None and self._last.specs and not wanted.known:
            _log.warning("Redis has forgotten which cameras are wanted; it is told again")
            await remember_wanted(self._redis, self._last.specs.values(), keys=self._keys)
            wanted = await read_wanted(self._redis, keys=self._keys)
        for name, why in wanted.broken.items():
            if self._told.get(name) != why:
                _log.warning("%s: what is wanted of it cannot be read: %s", name, why, extra=about(name))
        self._told = dict(wanted.broken)
        self._last = wanted
        return wanted

    async def _tell(self) -> None:
        if time.monotonic() - self._told_s < BEAT_S:
            return
        self._told_s = time.monotonic()
        states = [served.state() for served in self.serving.values() if not served.stop.is_set()]
        await tell_states(self._redis, [*states, *await self._paused()], keys=self._keys)

    async def _paused(self) -> list[CameraState]:
        """What is to be told of paused cameras; whoever comes first tells it, once."""
        specs = self._last.specs.values() if self._last is not None else ()
        resting = [spec.name for spec in specs if spec.paused and spec.name not in self.serving]
        known = await camera_states(self._redis, resting, keys=self._keys)
        return [
            CameraState(camera=name, state="paused")
            for name in resting
            if name not in known or (known[name].state != "paused" and not known[name].is_told)
        ]

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSE_S)
            with contextlib.suppress(RedisError):  # it is away or full: another time
                await end_abandoned_runs(self._redis, keys=self._keys, limits=self._limits)

    async def _end_all(self) -> None:
        """End every run, all at once; give back every camera that somebody else may take then."""
        tasks = []
        for served in self.serving.values():
            served.stop.set()
            if served.task is not None:
                tasks.append(served.task)
        if tasks:
            await asyncio.wait(tasks)
        with contextlib.suppress(RedisError):  # it is away: claims run out, states grow old
            for name, served in self.serving.items():
                if served.finished:
                    await self._note_finished(served)
                else:
                    await forget_state(self._redis, name, self.name, keys=self._keys)
                await release(self._redis, self.owner, name, keys=self._keys)
            await withdraw(self._redis, self.owner, keys=self._keys)
