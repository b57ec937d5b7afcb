"""`kinestream up`: everything that one file describes, kept running until Ctrl-C.

It starts the very commands that a user would type. Not for: what the file may say, and running it
(`kinestream.up`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.cli import REDIS_URL_VARIABLE
from kinestream.errors import UsageError

if TYPE_CHECKING:
    from kinestream.up.plan import Plan


@click.command(short_help="Run all cameras, workers, jobs and recordings of one file.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--redis",
    "redis_url",
    metavar="URL",
    envvar=REDIS_URL_VARIABLE,
    show_envvar=True,
    help="Redis to use, in place of what the file says.",
)
def up(file: Path, redis_url: str | None) -> int:
    """Run what FILE describes (YAML or TOML) until Ctrl-C, and start again whatever ends before.

    Each part is a command, which is shown, and what it says stands behind its name. Paths in FILE are
    relative to its folder. A Redis that is away is waited for; without one in FILE, a server is started and
    ended here.

    The first Ctrl-C ends cameras, workers, recordings, jobs and Redis, in this order, so that what was taken
    is still inferred and recorded; a second one stops at once. docs/up.md has an example.

    \b
    kinestream config check cameras.yaml
    kinestream up cameras.yaml
    """
    from kinestream.commands.config import show_problems
    from kinestream.redisurl import check_url
    from kinestream.up.document import ConfigError, read_document
    from kinestream.up.plan import make_plan, missing_secrets
    from kinestream.up.wants import producer_name

    producer = producer_name(file)
    try:
        document = read_document(file)
        plan = make_plan(document, producer=producer)
        if missing := missing_secrets(document, plan):
            raise ConfigError(missing)
    except ConfigError as error:
        show_problems(error)
        return 2
    if redis_url:
        check_url(redis_url)
    with _alone(file):
        asyncio.run(_up(file.absolute().parent, plan, redis_url, producer))
    return 0


async def _up(folder: Path, plan: Plan, redis_url: str | None, producer: str) -> None:
    from kinestream.logs import logs_are_json
    from kinestream.processes import capture_signals
    from kinestream.up.lines import told
    from kinestream.up.parts import parts_of
    from kinestream.up.running import Running

    width = max(len(part.name) for part in parts_of(plan, producer=producer))
    as_json = logs_are_json()
    one_at_a_time = threading.Lock()

    def say(name: str, line: str) -> None:
        with (
            one_at_a_time,
            contextlib.suppress(BrokenPipeError),
        ):  # nobody reads it any more; the cameras go on
            click.echo(told(name, line, width=width, as_json=as_json))

    with capture_signals() as stop:
        running = Running(
            plan,
            folder=folder,
            producer=producer,
            redis_url=redis_url,
            say=say,
            stop=stop,
        )
        await running.run()


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the file while it is up: twice, its cameras would be divided and its recordings doubled."""
    with file.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"{file} is up already: another kinestream up runs it") from None
        yield
