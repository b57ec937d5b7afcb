"""`kinestream producer`: one process that serves many cameras, those that are wanted.

Not for: doing it (see `service.py`), nor saying what is wanted (`kinestream camera`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option
from kinestream.heartbeat import heartbeat_option, with_heartbeat
from kinestream.metrics.telemetry import Telemetry, metrics_options, served

if TYPE_CHECKING:
    from kinestream_ingest.metrics import IngestMetrics
    from kinestream_ingest.service import Service


@click.command(short_help="Serve the wanted cameras, all of them or a share, for as long as they are wanted.")
@click.option(
    "--name",
    metavar="NAME",
    help="Name of this producer, for cameras that only it may serve  [default: host and process].",
)
@click.option(
    "--max-cameras",
    type=click.IntRange(min=1),
    metavar="M",
    help="Serve at most so many  [default: as many as are wanted].",
)
@heartbeat_option
@metrics_options
@redis_option
def producer(
    name: str | None,
    max_cameras: int | None,
    heartbeat_file: Path | None,
    metrics_port: int | None,
    metrics_host: str,
    redis_url: str | None,
) -> None:
    """Serve the cameras that are wanted (kinestream camera add): open each, again and again if need be, and
    offer its frames, until it is wanted no more.

    Several producers, on several hosts, divide the cameras among them; each camera is served by one of them,
    and the cameras of one that dies are taken over within seconds. What changes is obeyed within two seconds.
    A camera that hangs, or is away, does not hold up the others.

    The first Ctrl-C ends every run cleanly and gives the cameras back, a second one stops at once.

    \b
    Examples:
      kinestream producer
      kinestream producer --name hall --max-cameras 8 --metrics-port 9465
      DOOR_PASSWORD=… kinestream producer          for a camera at rtsp://viewer:${DOOR_PASSWORD}@…
    """
    from kinestream.errors import UsageError
    from kinestream.keys import check_camera

    if name is not None:
        try:
            check_camera(name)
        except UsageError as error:
            raise UsageError(str(error).replace("a camera name", "a producer's name")) from None
    with served(metrics_port, metrics_host) as telemetry:
        work = _serve(redis_url, name, max_cameras, telemetry)
        asyncio.run(telemetry.turning(with_heartbeat(heartbeat_file, work)))


async def _serve(
    redis_url: str | None, name: str | None, max_cameras: int | None, telemetry: Telemetry
) -> None:
    import uuid

    from kinestream.embedded import find_redis_url
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream_ingest.service import Service
    from kinestream_ingest.telling import process_name

    url = find_redis_url(redis_url)
    name = name or process_name()
    with capture_signals() as stop:
        async with connect(url) as redis, telemetry.watching_redis(url):
            service = Service(
                redis,
                name=name,
                owner=f"{name}/{uuid.uuid4().hex[:8]}",
                stop=stop,
                max_cameras=max_cameras,
            )
            _tell(telemetry, service, stop)
            await service.serve()


def _tell(telemetry: Telemetry, service: Service, stop: asyncio.Event) -> None:
    """It is ready as long as it turns: a camera that is away is told of by its own state."""

    def collector() -> IngestMetrics:
        from kinestream_ingest.metrics import IngestMetrics

        return IngestMetrics(lambda: service.feeds)

    telemetry.register(collector)
    telemetry.health.add_check(lambda: "ending" if stop.is_set() else "")
    telemetry.health.doing = ""
