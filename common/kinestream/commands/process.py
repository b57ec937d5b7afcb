"""`kinestream process`: every frame of a video file through the pipeline, and its poses into a folder.

It starts the very commands that a user would type. Not for: cameras that run on (see `ingest`, `worker`,
`record`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option
from kinestream.errors import KinestreamError

if TYPE_CHECKING:
    from kinestream.ledger import Ledger
    from kinestream.messages import PoseResult


@click.command(short_help="Analyse every frame of a video file.")
@click.argument("video", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--model", default="testcard", show_default=True, metavar="NAME|FILE", help="As for `worker`.")
@click.option("--device", default="auto", show_default=True, help="As for `worker`.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers to start.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Take every Nth frame.")
@click.option(
    "--max-side", type=click.IntRange(16), help="Shrink frames to this many pixels on the long side."
)
@click.option("--video/--no-video", "annotate", default=True, show_default=True, help="Write annotated.mp4.")
@redis_option
def process(
    video: Path,
    output: Path,
    model: str,
    device: str,
    workers: int,
    every: int,
    max_side: int | None,
    annotate: bool,
    redis_url: str | None,
) -> None:
    """Analyse VIDEO in full: OUTPUT/poses.jsonl has one record a frame, in order, OUTPUT/annotated.mp4 shows
    them.

    Without --redis it runs on a Redis server of its own, and nothing is left behind.

    \b
    kinestream process jump.mp4 -o jump
    kinestream process jump.mp4 -o jump --model rtmo-s.onnx --every 2
    """
    from kinestream.embedded import find_redis_url, own_redis
    from kinestream.overview import sum_line
    from kinestream.video import probe_video

    info = probe_video(video)  # a file that is no video ends the command before anything else happens
    output.mkdir(parents=True, exist_ok=True)
    camera = _camera_of(video)
    ingest = ["ingest", str(video), "--camera", camera, "--lane", "every-frame", "--every", str(every)]
    if max_side:
        ingest += ["--max-side", str(max_side)]
    frames = -(-info.frames // every) if info.frames else None
    with contextlib.ExitStack() as stack:
        url = find_redis_url(redis_url) if redis_url else stack.enter_context(own_redis()).url
        work = ["worker", "--model", model, "--device", device]
        poses = output / "poses.jsonl"
        ledger, exit_code = asyncio.run(_process(url, camera, ingest, [work] * workers, poses, frames))
    click.echo(sum_line(ledger), err=True)
    if annotate:
        _annotate(video, output)
    if exit_code:
        raise KinestreamError(f"{video} was not read to its end; {output} holds what there was")


async def _process(
    url: str,
    camera: str,
    ingest: Sequence[str],
    workers: Sequence[Sequence[str]],
    poses: Path,
    frames: int | None,
) -> tuple[Ledger, int]:
    """Run the children until the run has ended; return its ledger and the exit code of `kinestream
    ingest`.
    """
    from rich.console import Console
    from rich.progress import Progress

    from kinestream.crew import Crew
    from kinestream.ledger import read_ledgers
    from kinestream.processes import capture_signals
    from kinestream.redis import connect
    from kinestream.subscriber import current_cursor, subscribe

    client = connect(url)
    progress = Progress(console=Console(stderr=True))
    say = partial(progress.console.print, markup=False, highlight=False, soft_wrap=True)
    try:
        with capture_signals() as stop, progress, Crew(url, say) as crew:
            bar = progress.add_task(camera, total=frames)
            # From this very moment: the subscription must not begin later than the run.
            here = await current_cursor(client, order=True)
            results = subscribe(client, [camera], start=here, order=True)
            writing = asyncio.create_task(_write(results, poses, lambda count: progress.advance(bar, count)))
            for number, worker in enumerate(workers, 1):
                crew.start(worker, name=f"worker {number}", restart=True)
            source = crew.start(ingest, name="ingest")
            await crew.until(writing, stop)
            (ledger,) = [ledger for ledger in await read_ledgers(client) if ledger.camera == camera]
            return ledger, await asyncio.to_thread(source.wait)
    finally:
        await client.aclose()


async def _write(results: AsyncIterator[PoseResult], path: Path, progress: Callable[[int], object]) -> None:
    """Write a line for each record of a frame up to the `end`; the file has its name only once it is
    whole.
    """
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as lines:
        async for result in results:
            if result.status == "end":
                break
            lines.write(json.dumps(result.as_dict()) + "\n")
            progress(result.frames)
    part.replace(path)


def _annotate(video: Path, output: Path) -> None:
    from kinestream.processes import start_child

    arguments = ["render", str(video), str(output / "poses.jsonl"), "-o", str(output / "annotated.mp4")]
    with start_child(arguments, name="render", say=partial(click.echo, err=True)) as child:
        if child.wait():
            raise KinestreamError("annotated.mp4 could not be written (see the line above)")


def _camera_of(video: Path) -> str:
    """A camera name that is this file's and this process's: two of one name would fence each other off."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", video.stem).strip("-_.")[:50] or "video"
    return f"{stem}-{os.getpid()}"
