"""Everybody who plays in one run, and looking after them: who died by itself is told, and started again.

Not for: faults (see `faults.py`), nor what comes of them (`evidence.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from kinestream.chaos.actors import Actor, resident_bytes
from kinestream.chaos.camera import NetworkCamera
from kinestream.chaos.evidence import WatchLogs
from kinestream.chaos.poison import CAMERA as POISON
from kinestream.chaos.poison import Poison
from kinestream.chaos.schedule import Role
from kinestream.chaos.server import Server
from kinestream.chaos.verdict import Sample
from kinestream.cli import REDIS_URL_VARIABLE
from kinestream.processes import Child

LEASE_MS = 1500
"""Shorter than a worker's default, so that faults can outlast it."""

FPS = 10
SIZE = "320x180"
"""Cameras that cost little: the load shall come from the faults."""

CAMERA_TIMEOUT_S = 2
"""Shorter than a camera hangs, so that its producer gives it up and connects again."""

_CARD = f"testcard://?athletes=1&motion=walk&fps={FPS}&size={SIZE}&loop=2"
_FAULTY = (
    f"faulty://?cut_every=300&stall_every=200&stall_s=1&garbage_every=100&duplicate_every=100&source={_CARD}"
)
"""A camera that misbehaves by itself, beside all that is done to its process."""

_LOOK_S = 0.2
_SAMPLE_S = 1.0

SORTS = ("every-frame", "network", "live")
"""What cameras are, in turn: a complete test card, a network camera on the live lane, a live test card that
misbehaves (faulty://)."""


def camera_names(count: int) -> dict[str, str]:
    """Camera -> what it is, such as `camera-1` -> `every-frame`."""
    return {f"camera-{number + 1}": SORTS[number % len(SORTS)] for number in range(count)}


@dataclass
class Stage:
    """The actors by name, and what was noticed while they played.

    `busy` holds a lock for each target that was hit. `fenced` are producers that another one replaced: they
    must end by themselves, with exit code 1.
    """

    server: Server
    workers: dict[str, Actor]
    producers: dict[str, Actor]
    networks: dict[str, NetworkCamera]
    watcher: Actor
    watch_logs: WatchLogs
    poison: Poison
    busy: dict[str, asyncio.Lock] = field(default_factory=dict)
    fenced: list[tuple[str, Child]] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def actors(self) -> list[Actor]:
        return [self.server.actor, *self.workers.values(), *self.producers.values(), self.watcher]

    @property
    def lanes(self) -> dict[str, str]:
        """Camera -> lane, poison included."""
        sorts = camera_names(len(self.producers))
        lanes = {name: "every-frame" if sort == "every-frame" else "live" for name, sort in sorts.items()}
        return {**lanes, POISON: "every-frame"}

    @property
    def targets(self) -> dict[Role, Sequence[str]]:
        """Whom a fault may hit, by role."""
        return {
            "worker": [*self.workers],
            "camera": [*self.producers],
            "network": [*self.networks],
            "redis": ["redis"],
            "subscriber": [self.watcher.name],
            "poison": [POISON],
        }

    async def holds_frames(self, worker: Actor) -> bool:
        """Whether Redis lists frames under the name of this worker; no if it does not say."""
        return await self.server.pending(f"{worker.name}.{worker.generation}", [*self.producers]) > 0

    async def look_after(self) -> None:
        """Start again whoever ended by itself, and note it if that should not have been; for ever."""
        while True:
            for actor in self.actors:
                if wrong := actor.look_after():
                    self.incidents.append(wrong)
            await asyncio.sleep(_LOOK_S)

    async def measure(self) -> None:
        """Note the memory of Redis and of the largest process of each kind every second; for ever."""
        began = time.monotonic()
        while True:
            sizes: dict[str, int] = {}
            for actor in self.actors:
                if actor is not self.server.actor and actor.child.exit_code is None and actor.is_ready:
                    sizes[actor.role] = max(sizes.get(actor.role, 0), resident_bytes(actor.child.pid))
            if used := await self.server.used_bytes():
                sizes["redis"] = used
            self.samples.append(
                Sample(time.monotonic() - began, {kind: size for kind, size in sizes.items() if size})
            )
            await asyncio.sleep(_SAMPLE_S)


def make_stage(
    client: Redis,
    server: Server,
    folder: Path,
    *,
    networks: dict[str, NetworkCamera],
    cameras: int,
    workers: int,
    picture: bytes,
    say: Callable[[str], object],
) -> Stage:
    """Cast the actors; none of them is started yet."""
    environment = {REDIS_URL_VARIABLE: server.url}
    logs = WatchLogs()
    watcher_name = "watch"

    def actor(name: str, role: str, words: Callable[[int], Sequence[str]], ready: str) -> Actor:
        return Actor(name, role, words, ready=ready, folder=folder, environment=environment, say=say)

    def worker_words(name: str) -> Callable[[int], Sequence[str]]:
        # A name of its own for each life, as without --name: leases are listed under it.
        options = ["--model", "testcard", "--threads", "1", "--lease-ms", str(LEASE_MS)]
        return lambda life: ["worker", "--name", f"{name}.{life}", *options]

    def ingest_words(name: str, sort: str) -> Callable[[int], Sequence[str]]:
        if sort == "network":
            words = ["ingest", networks[name].url, "--camera", name, "--timeout", str(CAMERA_TIMEOUT_S)]
        else:
            words = [
                "ingest",
                _FAULTY if sort == "live" else _CARD,
                "--camera",
                name,
                "--lane",
                sort,
                "--realtime",
            ]
        return lambda life: words

    worker_names = [f"worker-{number}" for number in range(1, workers + 1)]
    width, height = map(int, SIZE.split("x"))
    return Stage(
        server=server,
        workers={name: actor(name, "worker", worker_words(name), "ms a batch") for name in worker_names},
        producers={
            name: actor(name, "ingest", ingest_words(name, sort), " begins, ")
            for name, sort in camera_names(cameras).items()
        },
        networks=networks,
        watcher=actor(
            watcher_name, "watch", lambda life: logs.words(folder / f"{watcher_name}.{life}.log"), '{"'
        ),
        watch_logs=logs,
        poison=Poison(client, picture, width, height, offered={}),
    )
