"""`kinestream ingest`: one source becomes one camera.

Not for: doing it (see `producer.py`); here are options, help, and the words at the end.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option
from kinestream.errors import KinestreamError
from kinestream.messages import LANES, Lane

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from kinestream_ingest.encoder import Encoder
    from kinestream_ingest.offering import Offering
    from kinestream_ingest.pacing import Pace, Thinning
    from kinestream_ingest.sources import Source


@click.command()
@click.argument("source")
@click.option("--camera", metavar="NAME", help="Name of the camera [default: from the source's name].")
@click.option(
    "--lane",
    type=click.Choice(LANES),
    help="live: fresh, frames that nobody takes in time are dropped. every-frame: complete, waits until "
    "there is room [default: every-frame for files, live for cameras].",
)
@click.option("--every", type=int, default=1, metavar="N", help="Take every Nth frame of the source.")
@click.option(
    "--max-fps", type=float, metavar="FPS", help="Take at most so many frames a second, on average."
)
@click.option("--max-side", type=int, metavar="PX", help="Shrink pictures whose longer side is longer.")
@click.option("--quality", type=int, metavar="Q", help="JPEG quality, 1 to 100 [default: 85].")
@click.option(
    "--realtime/--no-realtime",
    default=None,
    help="Play a file as fast as it was filmed, or as fast as it can be read. A test card keeps its frame "
    "rate, or does not [default: realtime on the live lane].",
)
@redis_option
def ingest(
    source: str,
    camera: str | None,
    lane: Lane | None,
    every: int,
    max_fps: float | None,
    max_side: int | None,
    quality: int | None,
    realtime: bool | None,
    redis_url: str | None,
) -> None:
    """Turn SOURCE into frames of one camera, for the workers.

    SOURCE is a video file, or the test card, a synthetic camera with athletes whose poses are known:

    \b
      testcard://?athletes=4&motion=jump&fps=30&size=1280x720&seed=7&seconds=20&loop=2

    motion is jump, squat or walk. Without seconds it goes on until Ctrl-C. With loop the pictures repeat,
    and are drawn and encoded beforehand: a camera that costs next to nothing, for load tests.

    Each start is a run of its own: a camera that is ingested a second time takes over, and the first one
    ends. The first Ctrl-C ends the run cleanly, a second one stops at once. Frames that are given up on are
    counted, with their cause; the last line is the sum of the run.

    \b
    Examples:
      kinestream ingest jump.mp4                               every frame, as fast as workers take them
      kinestream ingest jump.mp4 --every 4 --max-side 640      a quick look at a long or a large film
      kinestream ingest jump.mp4 --lane live                   played as if it were a camera
      kinestream ingest 'testcard://?motion=walk' --camera hall
    """
    import asyncio

    from kinestream.embedded import find_redis_url
    from kinestream.keys import check_camera
    from kinestream_ingest.encoder import QUALITY, Encoder
    from kinestream_ingest.pacing import Thinning
    from kinestream_ingest.sources import open_source

    thinning = Thinning(every=every, max_fps=max_fps)
    encoder = Encoder(quality=QUALITY if quality is None else quality, max_side=max_side)
    if camera is not None:
        check_camera(camera)
    opened = open_source(source, pace=_pace(lane, realtime))
    lane = lane or ("live" if opened.live else "every-frame")
    asyncio.run(_ingest(find_redis_url(redis_url), opened, camera or opened.name, lane, encoder, thinning))


def _pace(lane: Lane | None, realtime: bool | None) -> Pace | None:
    """How the source is paced; None leaves it to the source, as leaving out `--lane` leaves the lane to
    it."""
    if realtime is None and lane is None:
        return None
    if realtime is False or (realtime is None and lane == "every-frame"):
        return "unpaced"
    return "playback" if lane == "every-frame" else "camera"


async def _ingest(
    url: str, source: Source, camera: str, lane: Lane, encoder: Encoder, thinning: Thinning
) -> None:
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream_ingest.producer import Producer
    from kinestream_ingest.progress import shown_progress

    with capture_signals() as stop:
        async with connect(url) as redis:
            producer = Producer(
                redis, source, camera=camera, lane=lane, encoder=encoder, thinning=thinning, stop=stop
            )
            try:
                async with shown_progress(producer, redis):
                    await producer.produce()
            except KinestreamError:
                await _show_sums(redis, producer.offering)
                raise
            await _show_sums(redis, producer.offering)


async def _show_sums(redis: Redis, offering: Offering) -> None:
    """One line a run: what became of its frames so far; more than one run only if Redis lost its memory."""
    from redis.exceptions import RedisError

    from kinestream.ledger import read_ledger
    from kinestream.overview import sum_line

    with contextlib.suppress(RedisError):  # it went away, and an error says so
        for run in offering.runs:
            ledger = await read_ledger(redis, offering.camera, run.number)
            if ledger is not None:
                click.echo(sum_line(ledger))
