"""`kinestream metrics`: every camera, worker and dead letter as metrics for Prometheus, in one place.

Not for: what a worker or a camera's process tells of itself (their `--metrics-port`), nor for people
(`kinestream status`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option
from kinestream.heartbeat import heartbeat_option, with_heartbeat
from kinestream.metrics.telemetry import metrics_options, served

if TYPE_CHECKING:
    from kinestream.metrics.telemetry import Telemetry

PORT = 9464
"""Where Prometheus is told to look, unless somebody says otherwise: a usual one for exporters."""


@click.command()
@heartbeat_option
@metrics_options
@redis_option
def metrics(
    heartbeat_file: Path | None, metrics_port: int | None, metrics_host: str, redis_url: str | None
) -> None:
    """Serve what is in Redis as metrics for Prometheus, until Ctrl-C: what became of every camera's frames,
    how many wait and for how long, workers, dead letters, Redis's memory.

    One such process shows all cameras; it needs no others' ports. /metrics is for Prometheus, /healthz and
    /readyz for supervisors. Counters begin at 0 when it starts.

    \b
    kinestream metrics                                       http://127.0.0.1:9464/metrics
    kinestream metrics --metrics-host 0.0.0.0 --metrics-port 9000
    """
    from kinestream.embedded import find_redis_url

    with served(PORT if metrics_port is None else metrics_port, metrics_host) as telemetry:
        work = _export(find_redis_url(redis_url), telemetry)
        asyncio.run(telemetry.turning(with_heartbeat(heartbeat_file, work)))


async def _export(url: str, telemetry: Telemetry) -> None:
    from kinestream.errors import RedisUnavailable
    from kinestream.metrics.exporter import Exporter
    from kinestream.processes import capture_signals
    from kinestream.redis import connect

    with capture_signals() as stop:
        async with connect(url) as client, telemetry.watching_redis(url):
            exporter = Exporter(client)
            telemetry.register(lambda: exporter)
            telemetry.health.add_check(lambda: exporter.missing)
            telemetry.health.doing = ""
            try:
                await exporter.keep(stop)
            except RedisUnavailable:
                if not stop.is_set():  # told to stop while Redis is away, it has nothing to finish
                    raise
