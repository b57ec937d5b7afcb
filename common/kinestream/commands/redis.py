"""`kinestream redis`: a Redis server for this user, in the foreground, without an installation.

Not for: production, where Redis is a service of its own; see `kinestream.embedded`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kinestream.embedded import EmbeddedRedis


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep what is in the server in DIR, for the next time. Without it nothing is kept.",
)
@click.option(
    "--maxmemory", metavar="SIZE", help="Most memory that it may use, such as 512mb or 2gb [default: 1gb]."
)
def redis(data: Path | None, maxmemory: str | None) -> None:
    """Run a Redis server for this user until Ctrl-C.

    Every other command of this user then finds it without being told its URL. It listens on a unix socket
    that only this user can open, and it refuses frames when its memory is full, rather than forget some.

    \b
    Examples:
      kinestream redis
      kinestream redis --data ./redis-data --maxmemory 2gb
    """
    import asyncio

    from kinestream.embedded import MAXMEMORY, EmbeddedRedis

    with EmbeddedRedis(data=data, maxmemory=maxmemory or MAXMEMORY) as server:
        click.echo(f"Redis is ready ({server.binary}); Ctrl-C ends it")
        click.echo(f"URL   {server.url}   (kinestream commands of this user find it by themselves)")
        click.echo(f"log   {server.log}")
        click.echo(f"data  {data.absolute() if data else 'not kept'}")
        asyncio.run(_until_stopped(server))


async def _until_stopped(server: EmbeddedRedis) -> None:
    """Return when a signal says so; raises `RedisUnavailable` if the server ends before."""
    import asyncio
    import contextlib

    from kinestream.errors import RedisUnavailable
    from kinestream.processes import capture_signals

    with capture_signals() as stop:
        while not stop.is_set():
            if server.exit_code is not None:
                raise RedisUnavailable(
                    f"the server ended by itself (exit code {server.exit_code}): see {server.log}"
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
