"""`kinestream dead`: the frames that were given up on: list them, look at one, put them back to work, purge
them.

Not for: what it does with the stream (see `deadletters.py`).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option
from kinestream.errors import MessageError, UsageError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from kinestream.deadletters import DeadLetter

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_SUFFIXES = {"jpeg": ".jpg", "png": ".png", "raw": ".bgr"}


@click.group(short_help="Look after the frames that were given up on.")
def dead() -> None:
    """Look after the frames that were given up on: undecodable ones, and those on which the engine fails
    alone.

    Each is kept with its bytes, the error and its traceback, in a stream that is bounded in bytes and age.
    """


@dead.command("list")
@click.option("--camera", metavar="NAME", help="Of this camera only.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a letter, one a line, without the picture."
)
@redis_option
def list_(camera: str | None, as_json: bool, redis_url: str | None) -> None:
    """List the dead letters, oldest first."""
    asyncio.run(_list(redis_url, camera, as_json))


@dead.command()
@click.argument("letter_id", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the picture goes  [default: named after the frame]",
)
@redis_option
def show(letter_id: str, output: Path | None, redis_url: str | None) -> None:
    """Show one dead letter with its traceback, and save its picture."""
    asyncio.run(_show(redis_url, letter_id, output))


@dead.command()
@click.argument("letter_ids", metavar="ID…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of one camera, in place of ids.")
@click.option("--camera", metavar="NAME", help="With --all: the camera whose letters these are.")
@click.option("--as", "as_camera", metavar="NAME", help="Camera of the new run  [default: the letters' own]")
@redis_option
def requeue(
    letter_ids: tuple[str, ...],
    everything: bool,
    camera: str | None,
    as_camera: str | None,
    redis_url: str | None,
) -> None:
    """Put dead letters back to work, as a new run on the every-frame lane.

    Each result names in `origin` the frame that it comes from. A camera that is being produced needs --as.
    """
    if everything == bool(letter_ids) or (everything and not camera):
        raise UsageError("name the letters' ids, or --all and --camera NAME")
    asyncio.run(_requeue(redis_url, letter_ids, camera, as_camera))


@dead.command()
@click.option("--older-than", required=True, metavar="AGE", help="Such as 7d, 12h, 30m, 10s, or 0s for all.")
@redis_option
def purge(older_than: str, redis_url: str | None) -> None:
    """Throw away old dead letters."""
    asyncio.run(_purge(redis_url, _seconds(older_than)))


def _seconds(age: str) -> int:
    parts = re.fullmatch(r"([0-9]{1,9})([smhd])", age)
    if parts is None:
        raise UsageError(f"an age is a whole number and s, m, h or d, such as 7d, got {age!r}")
    return int(parts[1]) * _UNITS_S[parts[2]]


@asynccontextmanager
async def _redis(given: str | None) -> AsyncIterator[Redis]:
    from kinestream.embedded import find_redis_url
    from kinestream.redis import connect

    async with connect(find_redis_url(given)) as client:
        yield client


async def _list(redis_url: str | None, camera: str | None, as_json: bool) -> None:
    from kinestream.deadletters import read_dead_letters

    count = 0
    async with _redis(redis_url) as redis:
        async for letter in read_dead_letters(redis, camera=camera):
            count += 1
            click.echo(json.dumps(_facts(letter)) if as_json else _line(letter))
    if not count and not as_json:
        click.echo("no dead letters" + (f" of {camera}" if camera else ""))


def _facts(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "camera": letter.camera,
        "name": letter.name,
        "died_ms": letter.died_ms,
        "cause": letter.cause,
        "error": letter.error,
        "traceback": letter.traceback,
        "model": letter.model,
        "worker": letter.worker,
        "deliveries": letter.deliveries,
        "bytes": len(letter.packed),
    }


def _line(letter: DeadLetter) -> str:
    return (
        f"{letter.id}  {letter.camera} {letter.name}  {_when(letter)}  {letter.cause}, "
        f"delivered {letter.deliveries} times: {' '.join(letter.error.split())[:100]}"
    )


def _when(letter: DeadLetter) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.died_ms / 1000))


async def _show(redis_url: str | None, letter_id: str, output: Path | None) -> None:
    from kinestream.deadletters import read_dead_letter

    async with _redis(redis_url) as redis:
        letter = await read_dead_letter(redis, letter_id)
    for name, value in _facts(letter).items():
        if name != "traceback":
            click.echo(f"{name:10} {value}")
    click.echo(f"\n{letter.traceback.rstrip() or 'no traceback'}\n")
    try:
        frame = letter.frame()
        data, suffix = frame.data, _SUFFIXES[frame.codec]
        note = f"picture: {frame.codec}, {frame.width}x{frame.height}"
    except MessageError as error:
        data, suffix, note = (
            letter.packed,
            ".bin",
            f"its message is no frame ({error}), so here are its bytes:",
        )
    # Whoever reaches Redis may have written the letter: its name must not lead out of this folder.
    path = output or Path(re.sub(r"[^A-Za-z0-9_.-]", "_", f"{letter.camera}-{letter.name}{suffix}")[-128:])
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}") from error
    click.echo(f"{note} {path}")


async def _requeue(
    redis_url: str | None, letter_ids: tuple[str, ...], camera: str | None, as_camera: str | None
) -> None:
    from kinestream.deadletters import read_dead_letter, read_dead_letters, requeue
    from kinestream.keys import check_camera
    from kinestream.processes import capture_signals

    with capture_signals() as stop:
        async with _redis(redis_url) as redis:
            if letter_ids:
                ids = dict.fromkeys(letter_ids)  # one that is named twice is put back once
                letters = [await read_dead_letter(redis, letter_id) for letter_id in ids]
            else:
                letters = [letter async for letter in read_dead_letters(redis, camera=camera)]
                if not letters:
                    raise UsageError(f"{camera} has no dead letters")
            names = {as_camera} if as_camera else {letter.camera for letter in letters}
            if len(names) != 1:
                raise UsageError(
                    f"dead letters of one camera at a time, or --as NAME: those of {', '.join(sorted(names))}"
                )
            target = check_camera(names.pop())
            run = await requeue(redis, letters, camera=target, stop=stop)
    click.echo(f"{run.produced} of {len(letters)} frames are queued as run {run.number} of {target}")


async def _purge(redis_url: str | None, older_than_s: int) -> None:
    from kinestream.deadletters import purge

    async with _redis(redis_url) as redis:
        now_s = int((await redis.time())[0])
        # An age of 0 means all: one second beyond the present.
        count = await purge(redis, before_ms=1000 * (now_s - older_than_s + (older_than_s == 0)))
    click.echo(f"{count} dead letters purged")
