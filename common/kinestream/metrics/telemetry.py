"""The options `--metrics-port` and `--metrics-host` of a command, and what they switch on.

Without a port nothing of it happens, and nothing is imported for it. Not for: what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kinestream.metrics.health import Health
from kinestream.tasks import cancel

if TYPE_CHECKING:
    from prometheus_client.registry import Collector, CollectorRegistry

PORT_VARIABLE = "KINESTREAM_METRICS_PORT"
"""Environment variable that stands for `--metrics-port`. A command that starts others keeps it from them: a
port belongs to one process.
"""

HOST_VARIABLE = "KINESTREAM_METRICS_HOST"

LOOPBACK = "127.0.0.1"
"""Where metrics are served unless somebody says otherwise: they tell names of cameras and hosts."""

_TURN_S = 0.5

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])
_log = logging.getLogger(__name__)


def metrics_options(command: Command) -> Command:
    """Decorator: gives a command the arguments `metrics_port: int | None` and `metrics_host: str`."""
    for option in (
        click.option(
            "--metrics-host",
            default=LOOPBACK,
            show_default=True,
            envvar=HOST_VARIABLE,
            metavar="HOST",
            help="Where to serve them; 0.0.0.0 for everywhere, as in a container.",
        ),
        click.option(
            "--metrics-port",
            type=click.IntRange(0, 65535),
            envvar=PORT_VARIABLE,
            show_envvar=True,
            metavar="PORT",
            help="Serve metrics for Prometheus on this port, and /healthz and /readyz; 0 for any free one.",
        ),
    ):
        command = option(command)
    return command


class Telemetry:
    """What a process tells about itself, and `health`; made by `served`."""

    def __init__(self, registry: CollectorRegistry | None = None, health: Health | None = None) -> None:
        """`registry` None is for a process that serves nothing: then everything here does nothing."""
        self.health = health or Health()
        self._registry = registry

    @property
    def serves(self) -> bool:
        """Whether anybody can ask."""
        return self._registry is not None

    def register(self, make: Callable[[], Collector]) -> None:
        """Serve what a collector has to say; it is made only if somebody can ask for it."""
        if self._registry is not None:
            self._registry.register(make())

    async def turning(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, and tell meanwhile that the event loop turns."""
        if self._registry is None:
            return await work
        turning = asyncio.create_task(self._turn(), name="turning")
        try:
            return await work
        finally:
            await cancel(turning)

    async def _turn(self) -> None:
        while True:
            self.health.turn()
            await asyncio.sleep(_TURN_S)

    @contextlib.asynccontextmanager
    async def watching_redis(self, url: str) -> AsyncIterator[None]:
        """Find out meanwhile whether this Redis answers, which is told, and a part of being ready."""
        if self._registry is None:
            yield
            return
        from kinestream.metrics.redisprobe import RedisProbe

        probe = RedisProbe(url)
        self._registry.register(probe)
        self.health.add_check(lambda: probe.missing)
        asking = asyncio.create_task(probe.keep(), name="asking Redis")
        try:
            yield
        finally:
            await cancel(asking)


@contextlib.contextmanager
def served(port: int | None, host: str) -> Iterator[Telemetry]:
    """Serve what the telemetry says, from now on to the end of the block; with port None nothing is.

    Raises `UsageError` if nobody can listen there.
    """
    if port is None:
        yield Telemetry()
        return
    from kinestream.metrics.server import MetricsServer

    health = Health()
    with MetricsServer(host, port, health, version("kinestream")) as server:
        _log.info("metrics at %s/metrics", server.url)
        yield Telemetry(server.registry, health)
