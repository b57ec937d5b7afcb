"""`kinestream ingest`: one source becomes one camera.

Not for: doing it (see `feed.py`); here are options, help, and the words at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.cli import SOURCE_VARIABLE, redis_option
from kinestream.errors import KinestreamError, RedisUnavailable, UsageError
from kinestream.heartbeat import heartbeat_option, with_heartbeat
from kinestream.messages import LANES, Lane
from kinestream.metrics.telemetry import Telemetry, metrics_options, served

if TYPE_CHECKING:
    import asyncio

    from redis.asyncio import Redis

    from kinestream.turns import Wishes
    from kinestream_ingest.encoder import Encoder
    from kinestream_ingest.feed import Feed
    from kinestream_ingest.metrics import IngestMetrics
    from kinestream_ingest.pacing import Thinning
    from kinestream_ingest.sources import Source

_SHOWN_RUNS = 10
"""Sums that are shown at the end: a camera with a bad connection has hundreds of runs."""


@click.command()
@click.argument("source", envvar=SOURCE_VARIABLE)
@click.option("--camera", metavar="NAME", help="Name of the camera [default: from the source's name].")
@click.option(
    "--lane",
    type=click.Choice(LANES),
    help="live: fresh, frames that nobody takes in time are dropped. every-frame: complete, waits until "
    "there is room [default: every-frame for files, live for cameras].",
)
@click.option(
    "--priority",
    type=int,
    default=0,
    metavar="N",
    help="0 to 9: when workers are short, cameras of a higher priority are served first [default: 0].",
)
@click.option(
    "--max-age-ms",
    type=int,
    metavar="MS",
    help="A live frame older than this is stale, and not inferred any more [default: that of the worker].",
)
@click.option("--every", type=int, default=1, metavar="N", help="Take every Nth frame of the source.")
@click.option(
    "--max-fps", type=float, metavar="FPS", help="Take at most so many frames a second, on average."
)
@click.option("--max-side", type=int, metavar="PX", help="Shrink pictures whose longer side is longer.")
@click.option("--quality", type=int, metavar="Q", help="JPEG quality, 1 to 100 [default: 85].")
@click.option(
    "--rotate",
    type=int,
    default=0,
    metavar="DEG",
    help="Degrees clockwise that turn the pictures upright: 0, 90, 180 or 270.",
)
@click.option(
    "--region",
    "region_text",
    metavar="REGION",
    help="Send only this part of the upright picture: a box X,Y,WIDTH,HEIGHT, or a polygon X,Y X,Y X,Y…, in "
    "pixels, or with % behind every number. Results stay in pixels of the whole picture.",
)
@click.option(
    "--realtime/--no-realtime",
    default=None,
    help="Play a file as fast as it was filmed, or as fast as it can be read. A test card keeps its frame "
    "rate, or does not [default: realtime on the live lane].",
)
@click.option(
    "--reconnect/--no-reconnect",
    default=None,
    help="Open a camera that is away, at the start or later, again and again until told to stop; or end "
    "[default: reconnect for webcams and network cameras].",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    metavar="S",
    help="Seconds without a picture after which a camera counts as gone [default: 10].",
)
@click.option(
    "--run-key",
    metavar="KEY",
    help="Started again with the same key after it was killed, go on with that run where it stands, in place "
    "of a new one. For what is read once, on the every-frame lane.",
)
@heartbeat_option
@metrics_options
@redis_option
def ingest(
    source: str,
    camera: str | None,
    lane: Lane | None,
    priority: int,
    max_age_ms: int | None,
    every: int,
    max_fps: float | None,
    max_side: int | None,
    quality: int | None,
    rotate: int,
    region_text: str | None,
    realtime: bool | None,
    reconnect: bool | None,
    timeout_s: float | None,
    run_key: str | None,
    heartbeat_file: Path | None,
    metrics_port: int | None,
    metrics_host: str,
    redis_url: str | None,
) -> None:
    """Turn SOURCE into frames of one camera, for the workers. SOURCE, by default
    $KINESTREAM_SOURCE, is one of

    \b
      jump.mp4, file:///films/jump.mp4                  a video file
      photos/, 'shots/*.jpg', 'images://photos?fps=25'  pictures, in the order of their names
      0, /dev/video0, webcam://0                        a webcam
      rtsp://user:password@camera/stream                a network camera; rtsps:// as well
      http://camera/video.mjpg                          MJPEG, another stream, or a film; https:// as well
      testcard://                                       a synthetic camera, whose athletes' poses are known

    \b
    Their options come behind a ?, as in
      'webcam://0?size=1280x720&fps=30&format=MJPG'
      'testcard://?athletes=4&motion=jump&fps=30&size=1280x720&seed=7&seconds=20&loop=2'

    A test card's motion is jump, squat or walk. Without seconds it goes on until Ctrl-C. With loop the
    pictures repeat, and are drawn and encoded beforehand: a camera that costs next to nothing, for load
    tests.

    A webcam or network camera that is away at the start, or breaks, is opened again and again, and goes on
    as a new run. Its password is never shown or stored, but who may list this machine's processes sees SOURCE
    as it was typed: the variable KINESTREAM_SOURCE in its place keeps it out of there.

    Each start is a run of its own: a camera that is ingested a second time takes over, and the first one
    ends. The first Ctrl-C ends the run cleanly, a second one stops at once. Frames that are given up on are
    counted, with their cause; the last line is the sum of the run.

    \b
    Examples:
      kinestream ingest jump.mp4                               every frame, as fast as workers take them
      kinestream ingest jump.mp4 --every 4 --max-side 640      a quick look at a long or a large film
      kinestream ingest jump.mp4 --lane live                   played as if it were a camera
      kinestream ingest 'testcard://?motion=walk' --camera hall
      kinestream ingest rtsp://192.168.1.20/stream1 --camera door --max-fps 15
      kinestream ingest rtsp://192.168.1.21/1 --rotate 90 --region 0%,50%,100%,50%     mounted sideways
      kinestream ingest 0 --camera coach --priority 1          served before all others
    """
    import asyncio

    from kinestream.keys import check_camera
    from kinestream.region import parse_region
    from kinestream.turns import Wishes
    from kinestream_ingest.encoder import QUALITY, Encoder
    from kinestream_ingest.framing import Framing
    from kinestream_ingest.pacing import Thinning, pace_of
    from kinestream_ingest.sources import TIMEOUT_S, open_source

    thinning = Thinning(every=every, max_fps=max_fps)
    framing = Framing(None if region_text is None else parse_region(region_text), rotate=rotate)
    encoder = Encoder(quality=QUALITY if quality is None else quality, max_side=max_side, framing=framing)
    if camera is not None:
        check_camera(camera)
    wishes = Wishes(priority=priority, max_age_ms=max_age_ms)
    if timeout_s is not None and not 0 < timeout_s < float("inf"):
        raise UsageError(f"timeout must be more than 0 seconds, got {timeout_s:g}")
    open_it = partial(open_source, source, pace=pace_of(lane, realtime), timeout_s=timeout_s or TIMEOUT_S)
    with served(metrics_port, metrics_host) as telemetry:
        work = _ingest(
            source, open_it, redis_url, camera, lane, wishes, reconnect, run_key, encoder, thinning, telemetry
        )
        asyncio.run(telemetry.turning(with_heartbeat(heartbeat_file, work)))


async def _ingest(
    text: str,
    open_it: Callable[[], Source],
    redis_url: str | None,
    camera: str | None,
    lane: Lane | None,
    wishes: Wishes,
    reconnect: bool | None,
    run_key: str | None,
    encoder: Encoder,
    thinning: Thinning,
    telemetry: Telemetry,
) -> None:
    from kinestream.embedded import find_redis_url
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream_ingest.feed import Feed
    from kinestream_ingest.firstconnection import first_connection
    from kinestream_ingest.progress import shown_progress
    from kinestream_ingest.telling import process_name, state_of, told

    telemetry.health.doing = "opening the source"
    with capture_signals() as stop:
        again = reconnect is not False and run_key is None
        source = await first_connection(open_it, text, stop, again=again, camera=camera, redis_url=redis_url)
        if source is None:
            return
        encoder.check(source)
        if reconnect and not source.returns:
            raise UsageError(f"--reconnect is for cameras; {source.description} is read once")
        its_lane: Lane = lane or ("live" if source.live else "every-frame")
        if run_key is not None and (source.returns or its_lane == "live" or not run_key):
            raise UsageError(
                f"--run-key KEY is for what is read once, on the every-frame lane: {source.description} is "
                + ("a camera" if source.returns else "live" if its_lane == "live" else "given an empty key")
            )
        url = find_redis_url(redis_url)
        name = camera or source.name
        async with connect(url) as redis, telemetry.watching_redis(url):
            if run_key and await _is_over(redis, name, run_key, stop):
                return
            feed = Feed(
                redis,
                source,
                camera=name,
                lane=its_lane,
                reopen=open_it if source.returns and reconnect is not False else None,
                encoder=encoder,
                thinning=thinning,
                stop=stop,
                run_key=run_key or "",
                priority=wishes.priority,
                max_age_ms=wishes.max_age_ms,
            )
            _tell(telemetry, feed, stop)
            # A run with a key is gone on with by whoever has the key: that its reader is silent is no reason
            # to end it, and a state that is not told any more would be one (see `kinestream.abandoned`).
            state = partial(state_of, feed, process_name())
            telling = contextlib.nullcontext() if run_key else told(state, redis)
            try:
                async with telling, shown_progress(feed, redis):
                    await feed.produce()
            except RedisUnavailable:
                raise  # without sums: who was told to stop does not wait again for a Redis that hangs
            except KinestreamError:
                await _show_sums(redis, feed)
                raise
            await _show_sums(redis, feed)


async def _is_over(redis: Redis, camera: str, run_key: str, stop: asyncio.Event) -> bool:
    """Whether the run of this key has ended, so that there is nothing left to do."""
    from kinestream.redis import through_outages
    from kinestream.run import run_of_token

    what = f"looking for a run of {camera}"
    run, is_open = await through_outages(lambda: run_of_token(redis, camera, run_key), what=what, stop=stop)
    if run and not is_open:
        click.echo(f"{camera}: run {run}, which has this key, is over already")
    return run > 0 and not is_open


def _tell(telemetry: Telemetry, feed: Feed, stop: asyncio.Event) -> None:
    """From now on it has something to tell, and is ready while its camera is there and has an open run."""

    def collector() -> IngestMetrics:
        from kinestream_ingest.metrics import IngestMetrics

        return IngestMetrics(lambda: [feed])

    def missing() -> str:
        if stop.is_set():
            return "ending"
        if feed.away_s:
            return f"the source has been away for {feed.away_s:.0f} s"
        return "" if feed.offering.open else "no run is open"

    telemetry.register(collector)
    telemetry.health.add_check(missing)
    telemetry.health.doing = ""


async def _show_sums(redis: Redis, feed: Feed) -> None:
    """One line a run: what became of its frames so far; several if the camera or Redis was away."""
    from redis.exceptions import RedisError

    from kinestream.ledger import read_ledger
    from kinestream.overview import sum_line

    camera, runs = feed.offering.camera, feed.runs
    with contextlib.suppress(RedisError):  # it went away, and an error says so
        if len(runs) > _SHOWN_RUNS:
            click.echo(f"{camera}: {len(runs)} runs, the last {_SHOWN_RUNS} of them:")
        for run in runs[-_SHOWN_RUNS:]:
            ledger = await read_ledger(redis, camera, run)
            if ledger is not None:
                click.echo(sum_line(ledger) + f", run {run}" * (len(runs) > 1))
