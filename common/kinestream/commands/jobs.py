"""`kinestream jobs`: does the jobs that were handed in, and keeps house.

Not for: handing them in (`job.py`), nor how they are done (`jobs/`).
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option
from kinestream.errors import UsageError
from kinestream.heartbeat import heartbeat_option, with_heartbeat

if TYPE_CHECKING:
    from kinestream.jobs.folders import Folders

_UNITS_S = {"m": 60, "h": 3600, "d": 86400}


@click.command(short_help="Do the jobs that were handed in: videos, analysed in full.")
@click.option(
    "--videos",
    type=click.Path(path_type=Path),
    default="/",
    envvar="KINESTREAM_VIDEOS",
    show_envvar=True,
    metavar="DIR",
    help="Read only videos in this folder. By default any file that this process may read: name a folder "
    "where others may write to this Redis.",
)
@click.option(
    "--outputs",
    type=click.Path(path_type=Path),
    default="kinestream-jobs",
    show_default=True,
    envvar="KINESTREAM_OUTPUTS",
    show_envvar=True,
    metavar="DIR",
    help="Where results go, a folder a job.",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="HOST", help="Read videos from this host, too.")
@click.option(
    "--max-jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Jobs done at the same time."
)
@click.option("--keep", default="7d", show_default=True, metavar="AGE", help="How long results are kept.")
@heartbeat_option
@redis_option
def jobs(
    videos: Path,
    outputs: Path,
    hosts: tuple[str, ...],
    max_jobs: int,
    keep: str,
    heartbeat_file: Path | None,
    redis_url: str | None,
) -> None:
    """Do jobs until Ctrl-C: each is read and offered frame by frame, and its results are written to a folder.

    Frames are analysed by `kinestream worker`, as those of cameras are; at least one must run. Start as many
    of these as you like, on one Redis, with the same folders: what one cannot finish, another goes on with.

    \b
    kinestream jobs &
    kinestream job submit jump.mp4
    """
    from kinestream.embedded import find_redis_url
    from kinestream.jobs.folders import Folders

    folders = Folders(videos.absolute(), outputs.absolute())
    folders.prepare()
    work = _jobs(find_redis_url(redis_url), folders, frozenset(hosts), max_jobs, _seconds(keep))
    asyncio.run(with_heartbeat(heartbeat_file, work))


async def _jobs(url: str, folders: Folders, hosts: frozenset[str], max_jobs: int, keep_s: int) -> None:
    from kinestream.jobs.chores import camera_chores
    from kinestream.jobs.housekeeping import keep_house
    from kinestream.jobs.queue import serve
    from kinestream.jobs.service import Service
    from kinestream.keys import Keys
    from kinestream.processes import capture_signals
    from kinestream.redis import connect

    keys = Keys()
    with capture_signals() as stop:
        async with connect(url) as redis:
            service = Service(redis=redis, url=url, folders=folders, hosts=hosts, keep_s=keep_s, keys=keys)
            click.echo(f"jobs are done here, {max_jobs} at a time; results go to {folders.outputs}", err=True)
            await serve(
                url,
                keys=keys,
                run_job=service.run_job,
                chores=camera_chores(redis, keys),
                keep_house=lambda: keep_house(redis, folders, keys=keys),
                max_jobs=max_jobs,
                stop=stop,
            )


def _seconds(age: str) -> int:
    parts = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", age)
    if parts is None:
        raise UsageError(f"--keep is a whole number and m, h or d, such as 7d, got {age!r}")
    return int(parts[1]) * _UNITS_S[parts[2]]
