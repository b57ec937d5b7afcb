"""`kinestream camera`: say which cameras are wanted, and how; producers obey within two seconds.

Not for: reading cameras (`kinestream producer`), nor what becomes of their frames (`kinestream status`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from kinestream.cli import redis_option
from kinestream.errors import UsageError
from kinestream.messages import LANES

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from kinestream.cameraspec import CameraSpec
    from kinestream.camerastate import CameraState


@click.group(short_help="Add, remove, list, pause and resume the cameras that producers serve.")
def camera() -> None:
    """Say which cameras are wanted, and how. Running producers obey within two seconds.

    What is wanted stands in Redis, whether a producer runs or not: kinestream producer
    """


def _added(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: the options of a camera, as `CameraSpec` names them."""
    for option in reversed(
        [
            click.option("--lane", type=click.Choice(LANES), help="See: kinestream ingest --help"),
            click.option("--every", type=int, metavar="N", help="Take every Nth frame."),
            click.option(
                "--max-fps", type=float, metavar="FPS", help="Take at most so many frames a second."
            ),
            click.option("--max-side", type=int, metavar="PX", help="Shrink larger pictures."),
            click.option("--quality", type=int, metavar="Q", help="JPEG quality, 1 to 100 [default: 85]."),
            click.option(
                "--region",
                metavar="REGION",
                help="Look at this part of the upright picture only: a box X,Y,WIDTH,HEIGHT or a polygon "
                "'X,Y X,Y X,Y', in pixels or with % behind every number.",
            ),
            click.option("--rotate", type=int, metavar="DEG", help="Turn clockwise by 90, 180 or 270."),
            click.option(
                "--priority", type=int, metavar="0-9", help="While workers are short, 9 is served first."
            ),
            click.option("--max-age-ms", type=int, metavar="MS", help="Age limit of its live frames."),
            click.option("--clock-offset-ms", type=float, metavar="MS", help="Added to the camera's times."),
            click.option("--realtime/--no-realtime", default=None, help="Play a file as it was filmed."),
            click.option("--reconnect/--no-reconnect", default=None, help="Open it again when it broke."),
            click.option(
                "--timeout", "timeout_s", type=float, metavar="S", help="Seconds without a picture."
            ),
            click.option("--producer", metavar="NAME", help="Only this producer may serve it."),
            click.option("--paused", is_flag=True, default=None, help="Want it, but not yet."),
        ]
    ):
        command = option(command)
    return command


@camera.command("add")
@click.argument("name")
@click.argument("source")
@_added
@redis_option
def add(name: str, source: str, redis_url: str | None, **options: Any) -> None:
    """Want the camera NAME from SOURCE, or want it otherwise than before.

    SOURCE is what 'kinestream ingest' takes. A password is not stored: write ${NAME} in its place, and set
    the variable NAME where the producer runs; or ${file:/run/secrets/NAME}, for a file there.

    \b
    Examples:
      kinestream camera add door 'rtsp://viewer:${DOOR_PASSWORD}@192.168.1.20/stream1' --max-fps 15
      kinestream camera add card 'testcard://?motion=walk'
      kinestream camera add mat rtsp://192.168.1.21/stream1 --region 200,100,800,600 --priority 5
    """
    from kinestream.cameraspec import CameraSpec
    from kinestream.wanted import read_wanted, want_camera

    spec = CameraSpec.from_plain({"name": name, "source": source} | options)

    async def work(redis: Redis) -> None:
        before = await read_wanted(redis)
        await want_camera(redis, spec)
        known = name in before.specs or name in before.broken
        click.echo(f"{name}: {'wanted otherwise than before' if known else 'wanted'}")
        await _warn_without_producers(redis)

    _with_redis(redis_url, work)


@camera.command("remove")
@click.argument("names", nargs=-1, required=True)
@redis_option
def remove(names: tuple[str, ...], redis_url: str | None) -> None:
    """Want the cameras NAMES no more; their runs end."""
    from kinestream.wanted import drop_camera

    async def work(redis: Redis) -> None:
        missing = []
        for name in names:
            if await drop_camera(redis, name):
                click.echo(f"{name}: removed")
            else:
                missing.append(name)
        if missing:
            raise UsageError(f"no such camera is wanted: {', '.join(missing)}; see: kinestream camera list")

    _with_redis(redis_url, work)


@camera.command("pause")
@click.argument("names", nargs=-1, required=True)
@redis_option
def pause(names: tuple[str, ...], redis_url: str | None) -> None:
    """Let the cameras NAMES rest: their runs end, and nothing connects to them, until they are resumed."""
    _set_paused(redis_url, names, True)


@camera.command("resume")
@click.argument("names", nargs=-1, required=True)
@redis_option
def resume(names: tuple[str, ...], redis_url: str | None) -> None:
    """Let paused cameras go on, as a new run."""
    _set_paused(redis_url, names, False)


@camera.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a camera, one a line.")
@redis_option
def list_cameras(as_json: bool, redis_url: str | None) -> None:
    """Show the wanted cameras, how they are wanted, and how they are."""
    from kinestream.camerastate import camera_states
    from kinestream.wanted import read_wanted

    async def work(redis: Redis) -> None:
        wanted = await read_wanted(redis)
        states = await camera_states(redis, [*wanted.specs])
        for spec in wanted.specs.values():
            state = states.get(spec.name)
            if as_json:
                told = (
                    {"state": state.state, "served_by": state.producer, "error": state.error} if state else {}
                )
                click.echo(json.dumps(spec.to_plain() | told))
            else:
                click.echo(_line(spec, state))
        for name, why in wanted.broken.items():
            click.echo(f"{name}: what is wanted of it cannot be read: {why}", err=True)
        if not wanted.specs and not wanted.broken and not as_json:
            click.echo("no camera is wanted; add one with: kinestream camera add NAME SOURCE")

    _with_redis(redis_url, work)


def _line(spec: CameraSpec, state: CameraState | None) -> str:
    plain = spec.to_plain()
    del plain["name"], plain["source"]
    words = [f"{name}={value}" for name, value in plain.items()]
    how = state.state if state else "no producer serves it"
    if state and state.error:
        how += f" ({state.error})"
    return "  ".join([f"{spec.name}: {how}", spec.source, *words])


def _set_paused(redis_url: str | None, names: tuple[str, ...], paused: bool) -> None:
    from kinestream.wanted import pause_camera

    async def work(redis: Redis) -> None:
        for name in names:
            await pause_camera(redis, name, paused)
            click.echo(f"{name}: {'paused' if paused else 'resumed'}")

    _with_redis(redis_url, work)


def _with_redis(redis_url: str | None, work: Callable[[Redis], Awaitable[None]]) -> None:
    from kinestream.embedded import find_redis_url
    from kinestream.redis import connect

    url = find_redis_url(redis_url)

    async def run() -> None:
        async with connect(url) as redis:
            await work(redis)

    asyncio.run(run())


async def _warn_without_producers(redis: Redis) -> None:
    from kinestream.claims import producers

    if not await producers(redis):
        click.echo("no producer runs yet; start one with: kinestream producer", err=True)
