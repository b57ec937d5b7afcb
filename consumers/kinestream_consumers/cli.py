"""The commands `kinestream watch`, `record` and `render`. Not for: what they do; each has a file of its
own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click

from kinestream.cli import redis_option
from kinestream.errors import UsageError
from kinestream.messages import PoseResult

start_option = click.option(
    "--from",
    "start",
    default="now",
    show_default=True,
    metavar="now|beginning|CURSOR",
    help="Where to begin; a cursor is part of every JSON line.",
)


@click.command(short_help="Show results as they are published.")
@click.argument("cameras", nargs=-1, metavar="[CAMERA]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "table"]),
    help="JSON lines, or a table.  [default: table on a terminal, else json]",
)
@start_option
@click.option(
    "--order", is_flag=True, help="In order by camera and frame, without duplicates, instead of as they come."
)
@click.option(
    "--latest", is_flag=True, help="Only the newest of each camera, for a reader that cannot keep up."
)
@click.option("--count", type=click.IntRange(1), help="End after this many records.")
@redis_option
def watch(
    cameras: tuple[str, ...],
    form: str | None,
    start: str,
    order: bool,
    latest: bool,
    count: int | None,
    redis_url: str | None,
) -> None:
    """Subscribe to the results of all cameras, or of those named, until Ctrl-C.

    \b
    kinestream watch                             a table of all cameras
    kinestream watch left --format json | jq .   the records of one camera
    """
    from kinestream.subscriber import subscribe
    from rich.console import Console

    from kinestream.embedded import find_redis_url
    from kinestream_consumers.watch import first, show_table, write_lines

    if order and latest:
        raise UsageError("--order and --latest exclude each other")
    url = find_redis_url(redis_url)

    async def run() -> None:
        results: AsyncIterator[PoseResult] = subscribe(
            url, cameras or None, start=start, order=order, latest_only=latest
        )
        if count:
            results = first(results, count)
        if (form or ("table" if sys.stdout.isatty() else "json")) == "table":
            await show_table(results, Console())
        else:
            await write_lines(results, sys.stdout)

    asyncio.run(run())


@click.command(short_help="Record results and annotated pictures of running cameras.")
@click.argument("cameras", nargs=-1, required=True, metavar="CAMERA...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--video/--no-video", default=True, show_default=True, help="Write annotated.mp4 as well.")
@click.option(
    "--until-end", is_flag=True, help="End once every camera's run has ended, instead of with Ctrl-C."
)
@start_option
@redis_option
def record(
    cameras: tuple[str, ...], output: Path, video: bool, until_end: bool, start: str, redis_url: str | None
) -> None:
    """Write OUTPUT/results.jsonl, one record a line, and OUTPUT/annotated.mp4, the cameras side by side.

    The video shows the frames that were analysed. While it is recorded, workers keep a few pictures of each
    camera.
    """
    from kinestream.embedded import find_redis_url
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream_consumers.record import Recorder

    url = find_redis_url(redis_url)

    async def run() -> None:
        client = connect(url)
        try:
            recorder = Recorder(client, cameras, output, video=video, start=start)
            with capture_signals() as stop:
                await recorder.run(stop, until_end=until_end)
            pictures = f", {recorder.drawn} pictures" if video else ""
            click.echo(f"{output}: {recorder.records} records{pictures}", err=True)
        finally:
            await client.aclose()

    asyncio.run(run())


@click.command(short_help="Draw recorded poses onto a video file.")
@click.argument("video", type=click.Path(path_type=Path))
@click.argument("poses", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Video file to write (.mp4)."
)
def render(video: Path, poses: Path, output: Path) -> None:
    """Draw the people of POSES (JSON lines, from `kinestream process`) onto the frames of VIDEO, paired by
    time.
    """
    from rich.progress import Progress

    from kinestream.video import probe_video
    from kinestream_consumers.render import render as draw

    info = probe_video(video)
    with Progress(disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("rendering", total=info.frames)
        paired = draw(video, poses, output, progress=lambda: bar.advance(task))
    click.echo(f"{output}: {paired} frames with a record", err=True)
