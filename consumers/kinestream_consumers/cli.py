"""The commands `kinestream watch`, `record` and `render`. Not for: what they do (see the files of their
names).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kinestream.cli import redis_option
from kinestream.errors import UsageError
from kinestream.heartbeat import heartbeat_option, with_heartbeat
from kinestream.metrics.telemetry import Telemetry, metrics_options, served

if TYPE_CHECKING:
    from kinestream.messages import PoseResult
    from kinestream_consumers.metrics import RecordMetrics
    from kinestream_consumers.record import Recorder

start_option = click.option(
    "--from",
    "start",
    default="now",
    show_default=True,
    metavar="now|beginning|CURSOR",
    help="Where to begin. Each JSON line has a cursor, which stands for all that comes after that line.",
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
    "--order",
    is_flag=True,
    help="Each camera in the order of its frames, none twice, instead of as workers commit them.",
)
@click.option(
    "--latest", is_flag=True, help="Only the newest of each camera, for a reader that cannot keep up."
)
@click.option("--count", type=click.IntRange(1), help="End after this many records.")
@heartbeat_option
@metrics_options
@redis_option
def watch(
    cameras: tuple[str, ...],
    form: str | None,
    start: str,
    order: bool,
    latest: bool,
    count: int | None,
    heartbeat_file: Path | None,
    metrics_port: int | None,
    metrics_host: str,
    redis_url: str | None,
) -> None:
    """Subscribe to the results of all cameras, or of those named, until Ctrl-C.

    \b
    kinestream watch                                a table of all cameras
    kinestream watch left --format json | jq .      the records of one camera
    kinestream watch --order --from CURSOR          go on where an earlier one ended

    A table counts what came since it began. What cannot be read any more, since results are kept for five
    minutes only, is a record of status `missing` that says how much.
    """
    if order and latest:
        raise UsageError("--order and --latest exclude each other")
    from kinestream.embedded import find_redis_url

    form = form or ("table" if sys.stdout.isatty() else "json")
    with served(metrics_port, metrics_host) as telemetry:
        url = find_redis_url(redis_url)
        watching = _watch(url, cameras, form, count, telemetry, start=start, order=order, latest_only=latest)
        try:
            asyncio.run(telemetry.turning(with_heartbeat(heartbeat_file, watching)))
        except asyncio.CancelledError:
            click.get_current_context().exit(128 + signal.SIGTERM)


async def _watch(
    url: str,
    cameras: tuple[str, ...],
    form: str,
    count: int | None,
    telemetry: Telemetry,
    **options: Any,
) -> None:
    from contextlib import aclosing

    from rich.console import Console

    from kinestream.subscriber import subscribe
    from kinestream_consumers.watch import first, show_table, write_lines

    # As asyncio does for Ctrl-C: `timeout` and `kill` shall not leave a terminal without its cursor either.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with telemetry.watching_redis(url), aclosing(subscribe(url, cameras or None, **options)) as results:
        wanted = first(results, count) if count else results
        if telemetry.serves:
            wanted = _told(telemetry, wanted)
        if form == "table":
            await show_table(wanted, Console())
        else:
            await write_lines(wanted, sys.stdout)


def _told(telemetry: Telemetry, results: AsyncIterator[PoseResult]) -> AsyncIterator[PoseResult]:
    """The same records, counted; from now on the subscriber is ready."""
    from kinestream_consumers.metrics import WatchMetrics

    counts = WatchMetrics()
    telemetry.register(lambda: counts)
    telemetry.health.doing = ""
    return counts.counted(results)


@click.command(short_help="Record results and annotated pictures of running cameras.")
@click.argument("cameras", nargs=-1, required=True, metavar="CAMERA...")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--video/--no-video", default=True, show_default=True, help="Write annotated.mp4 as well.")
@click.option(
    "--until-end",
    is_flag=True,
    help="End once every camera's run is over and all of its records are here, instead of with Ctrl-C.",
)
@start_option
@metrics_options
@redis_option
def record(
    cameras: tuple[str, ...],
    output: Path,
    video: bool,
    until_end: bool,
    start: str,
    metrics_port: int | None,
    metrics_host: str,
    redis_url: str | None,
) -> None:
    """Write OUTPUT/results.jsonl, one record a line, and OUTPUT/annotated.mp4, the cameras side by side.

    The video shows the pictures that were analysed, each with its own poses, at the time of their capture.
    While it is recorded, workers leave a few pictures of each camera in Redis. Ctrl-C ends the recording; the
    files get their names when they are whole.

    \b
    kinestream record left right -o match
    kinestream record left -o match --until-end --no-video
    """
    from kinestream.embedded import find_redis_url

    with served(metrics_port, metrics_host) as telemetry:
        recording = _record(find_redis_url(redis_url), cameras, output, video, until_end, start, telemetry)
        asyncio.run(telemetry.turning(recording))


async def _record(
    url: str,
    cameras: tuple[str, ...],
    output: Path,
    video: bool,
    until_end: bool,
    start: str,
    telemetry: Telemetry,
) -> None:
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream_consumers.record import Recorder

    client = connect(url)
    try:
        recorder = Recorder(client, cameras, output, video=video, start=start)
        _tell_of_recording(telemetry, recorder)
        with capture_signals() as stop:
            async with telemetry.watching_redis(url):
                await recorder.run(stop, until_end=until_end)
        pictures = f", {recorder.pictures} pictures" if video else ""
        left_out = f", {recorder.left_out} more left out" if recorder.left_out else ""
        click.echo(f"{output}: {recorder.records} records{pictures}{left_out}", err=True)
    finally:
        await client.aclose()


def _tell_of_recording(telemetry: Telemetry, recorder: Recorder) -> None:
    def collector() -> RecordMetrics:
        from kinestream_consumers.metrics import RecordMetrics

        return RecordMetrics(recorder.counts)

    telemetry.register(collector)
    telemetry.health.doing = ""


@click.command(short_help="Draw recorded poses onto a video file.")
@click.argument("video", type=click.Path(path_type=Path))
@click.argument("poses", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Video file to write (.mp4)."
)
@click.option("--camera", metavar="NAME", help="Whose poses, if POSES has those of several cameras.")
def render(video: Path, poses: Path, output: Path, camera: str | None) -> None:
    """Draw the people of POSES onto the frames of VIDEO, each on its own frame.

    POSES are JSON lines, as `kinestream process` writes them, or `record` and `watch` for a camera that is a
    video file. They are paired with frames by their exact time in the file.

    \b
    kinestream render jump.mp4 jump/poses.jsonl -o annotated.mp4
    """
    from rich.console import Console
    from rich.progress import Progress

    from kinestream.video import probe_video
    from kinestream_consumers.render import render as draw

    info = probe_video(video)
    # A damaged file has fewer frames than it promises, and one that promises none has no bar but a pulse.
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(output.name, total=info.frames)
        paired = draw(video, poses, output, camera=camera, progress=lambda: bar.advance(task))
    click.echo(f"{output}: {paired} frames with a record", err=True)
