"""A file that is touched while an event loop turns: how a container's healthcheck sees that a process works.

A process that only waits, for frames or for a Redis that is away, has a heartbeat: it goes on by itself. One
that is frozen, or whose event loop is stuck, has none, and one that has ended leaves no file behind. Whoever
looks compares the file's age with a limit; a shell's `find` is enough, see compose.yaml.

Not for: an engine that hangs in its thread (a worker ends by itself then, see `--engine-timeout-s`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from kinestream.errors import UsageError
from kinestream.tasks import cancel

BEAT_S = 1.0
"""Between two touches: cheap, and a limit of 15 s leaves room for a machine that is busy."""

T = TypeVar("T")
_log = logging.getLogger(__name__)

heartbeat_option = click.option(
    "--heartbeat",
    "heartbeat_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Touch FILE every second while this process turns, and remove it at the end: for healthchecks.",
)
"""Decorator: gives a command the argument `heartbeat_file: Path | None`, for `with_heartbeat`."""


async def with_heartbeat(file: Path | None, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, and meanwhile touch `file`: at once, then every `BEAT_S` seconds; remove it at the end.

    It is a local file of this process alone; None is no heartbeat. Raises what `work` raises, and
    `UsageError` if the file cannot be made.
    """
    try:
        if file is None:
            return await work
        _touch_first(file)
        beating = asyncio.create_task(_beat(file), name=f"heartbeat {file}")
        try:
            return await work
        finally:
            await cancel(beating)
            _remove(file)
    finally:
        work.close()  # it was never begun if the file could not be made; else this does nothing


def _touch_first(file: Path) -> None:
    try:
        if file.exists() and not file.is_file():
            raise UsageError(f"the heartbeat {file} is no file")
        file.touch()
    except OSError as error:
        raise UsageError(f"cannot write the heartbeat {file}: {error.strerror}") from error


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)


def _touch(file: Path) -> OSError | None:
    """Touch it, and make it again if somebody removed it; return what went wrong."""
    try:
        file.touch()
    except OSError as error:
        return error
    return None


async def _beat(file: Path) -> None:
    failing = False
    while True:
        await asyncio.sleep(BEAT_S)
        error = _touch(file)
        if error and not failing:  # the work is what matters: it goes on, and looks unhealthy
            _log.warning("cannot touch the heartbeat %s: %s", file, error.strerror)
        failing = error is not None
