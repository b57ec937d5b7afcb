"""`kinestream ingest`: one source becomes one camera.

Not for: doing it (see `ingestion.py`); here are the options and their help.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from kinestream.cli import SOURCE_VARIABLE, redis_option
from kinestream.errors import UsageError
from kinestream.heartbeat import heartbeat_option, with_heartbeat
from kinestream.messages import LANES, Lane
from kinestream.metrics.telemetry import metrics_options, served


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

    from kinestream.cameraspec import LONGEST_TIMEOUT_S
    from kinestream.keys import check_camera
    from kinestream.region import parse_region
    from kinestream.turns import Wishes
    from kinestream_ingest.encoder import QUALITY, Encoder
    from kinestream_ingest.framing import Framing
    from kinestream_ingest.ingestion import ingest_source
    from kinestream_ingest.pacing import Thinning, pace_of
    from kinestream_ingest.sources import TIMEOUT_S, open_source

    thinning = Thinning(every=every, max_fps=max_fps)
    framing = Framing(None if region_text is None else parse_region(region_text), rotate=rotate)
    encoder = Encoder(quality=QUALITY if quality is None else quality, max_side=max_side, framing=framing)
    if camera is not None:
        check_camera(camera)
    wishes = Wishes(priority=priority, max_age_ms=max_age_ms)
    if timeout_s is not None and not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        wanted = f"more than 0 seconds, and {LONGEST_TIMEOUT_S} at most"
        raise UsageError(f"timeout must be {wanted}, got {timeout_s:g}")
    open_it = partial(open_source, source, pace=pace_of(lane, realtime), timeout_s=timeout_s or TIMEOUT_S)
    with served(metrics_port, metrics_host) as telemetry:
        work = ingest_source(
            source,
            open_it,
            redis_url,
            camera=camera,
            lane=lane,
            wishes=wishes,
            reconnect=reconnect,
            run_key=run_key,
            encoder=encoder,
            thinning=thinning,
            telemetry=telemetry,
        )
        asyncio.run(telemetry.turning(with_heartbeat(heartbeat_file, work)))
