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
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from kinestream.cli import REDIS_URL_VARIABLE
from kinestream.errors import KinestreamError, UsageError

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from kinestream.ledger import Ledger
    from kinestream.messages import PoseResult
    from kinestream.processes import Child

_PATIENCE_S = 600.0
"""How long a record is waited for while others behind it are there. Nobody watches a file live, so a worker
may die, and another one load its model, more than once.
"""


@click.command(short_help="Analyse every frame of a video file.")
@click.argument("video", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder to write to.")
@click.option(
    "--submit", is_flag=True, help="Hand it in as a job for `kinestream jobs`, and print the job's name."
)
@click.option(
    "--model",
    metavar="NAME|FILE",
    help="As for `worker`.  [default: rtmo-s, and rtmpose-s with --mode rtmpose]",
)
@click.option("--device", default="auto", show_default=True, help="As for `worker`.")
@click.option("--mode", metavar="NAME", help="As for `worker`.")
@click.option("--engine", metavar="NAME", help="As for `worker`.")
@click.option("--runtime", metavar="NAME", help="As for `worker`.")
@click.option("--precision", metavar="NAME", help="As for `worker`.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers to start.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Take every Nth frame.")
@click.option(
    "--max-side", type=click.IntRange(16), help="Shrink frames to this many pixels on the long side."
)
@click.option("--video/--no-video", "annotate", default=True, show_default=True, help="Write annotated.mp4.")
@click.option(
    "--redis",
    "redis_url",
    metavar="URL",
    envvar=REDIS_URL_VARIABLE,
    show_envvar=True,
    help="Redis to use, with whatever workers it has, in place of a server of its own.",
)
def process(
    video: Path,
    output: Path | None,
    submit: bool,
    model: str | None,
    device: str,
    mode: str | None,
    engine: str | None,
    runtime: str | None,
    precision: str | None,
    workers: int,
    every: int,
    max_side: int | None,
    annotate: bool,
    redis_url: str | None,
) -> None:
    """Analyse VIDEO in full: OUTPUT/poses.jsonl has one record a frame, in order, OUTPUT/annotated.mp4 shows
    them.

    Without --redis it runs on a Redis server of its own, and nothing is left behind. Of a damaged file, what
    can be read is analysed, and the exit code is 1. Ctrl-C gives it up: files are there whole or not at all.

    \b
    kinestream process jump.mp4 -o jump
    kinestream process jump.mp4 -o jump --model rtmo-m --every 2
    kinestream process jump.mp4 --submit
    """
    if submit:
        _submit(video, redis_url, every=every, max_side=max_side, annotate=annotate)
        return
    if output is None:
        raise UsageError("say where the results go (-o FOLDER), or hand the video in as a job (--submit)")
    from kinestream.embedded import EmbeddedRedis, find_redis_url
    from kinestream.modelchoice import settled_model
    from kinestream.overview import sum_line
    from kinestream.posesfile import poses_file
    from kinestream.video import probe_video

    info = probe_video(video)  # a file that is no video ends the command before anything else happens
    camera = _camera_of(video)
    ingest = ["ingest", str(video), "--camera", camera, "--lane", "every-frame", "--every", str(every)]
    if max_side:
        ingest += ["--max-side", str(max_side)]
    frames = -(-info.frames // every) if info.frames else None
    with contextlib.ExitStack() as stack:
        poses = stack.enter_context(poses_file(output))
        model = model or ("auto" if mode == "rtmpose" else "rtmo-s")
        work = ["worker", "--model", settled_model(model, mode), "--device", device]
        for option, given in (
            ("--mode", mode),
            ("--engine", engine),
            ("--runtime", runtime),
            ("--precision", precision),
        ):
            work += [option, given] if given else []
        # A server of its own is a private one: a worker that somebody starts meanwhile must not join in.
        own = None if redis_url else stack.enter_context(EmbeddedRedis(private=True))
        url = own.url if own else find_redis_url(redis_url)
        ledger, source_code = asyncio.run(_process(url, camera, ingest, [work] * workers, poses, frames))
    click.echo(sum_line(ledger), err=True)
    click.echo(f"{output / 'poses.jsonl'}: {ledger.produced} frames", err=True)
    if annotate:
        _annotate(video, output, damaged=source_code != 0)
    elif (output / "annotated.mp4").exists():
        click.echo(f"{output / 'annotated.mp4'} is from before, and stays as it was", err=True)
    if source_code:
        raise KinestreamError(f"{video} was not read to its end; {output} holds what there was")


def _submit(video: Path, redis_url: str | None, *, annotate: bool, **options: Any) -> None:
    """Hand the video in; raises `UsageError` for options that are the business of those who do the job."""
    context = click.get_current_context()
    given = [
        name
        for name in ("output", "model", "device", "mode", "engine", "runtime", "precision", "workers")
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"--{given[0]} is not for --submit: whoever does the job has its own")
    from kinestream.commands.job import hand_in

    hand_in(redis_url, str(video), outputs=("jsonl", "video") if annotate else ("jsonl",), **options)


async def _process(
    url: str,
    camera: str,
    ingest: Sequence[str],
    workers: Sequence[Sequence[str]],
    poses: TextIO,
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
    from kinestream.subscriber import subscribe

    client = connect(url)
    progress = Progress(console=Console(stderr=True))
    say = partial(progress.console.print, markup=False, highlight=False, soft_wrap=True)
    try:
        with capture_signals() as stop, progress, Crew(url, say) as crew:
            bar = progress.add_task(camera, total=frames)
            start = await _start(client)
            results = subscribe(client, [camera], start=start, order=True, wait_s=_PATIENCE_S)
            for number, worker in enumerate(workers, 1):
                crew.start(worker, name=f"worker {number}", restart=True)
            source = crew.start(ingest, name="ingest", may_fail=True)

            async def work() -> None:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_write(results, poses, lambda count: progress.advance(bar, count)))
                    both.create_task(_check_end(source, client, camera))

            await crew.until(asyncio.create_task(work()), stop)
            (ledger,) = [ledger for ledger in await read_ledgers(client) if ledger.camera == camera]
            return ledger, source.wait()
    finally:
        await client.aclose()


async def _start(client: Redis) -> str:
    """The cursor of this moment, with the promise that the camera has not begun yet.

    A run's number is a second. Without the promise, a run that begins in the very second of the cursor could
    be an older one, whose first frames nobody shall wait for.
    """
    from dataclasses import replace

    from kinestream.cursor import Cursor
    from kinestream.subscriber import current_cursor

    return str(replace(Cursor.parse(await current_cursor(client, order=True)), since_ms=0))


async def _check_end(source: Child, client: Redis, camera: str) -> None:
    """Wait for the end of `kinestream ingest`; raises `KinestreamError` if its run has not ended with it.

    A source that breaks ends its run, and the frames before are worth having. A run that is not ended will
    never be.
    """
    from kinestream.ledger import read_ledgers

    await asyncio.to_thread(source.wait)
    ended = [ledger.camera for ledger in await read_ledgers(client) if ledger.state == "ended"]
    if camera not in ended:
        raise KinestreamError(f"{source.name} ended with exit code {source.exit_code} (see its line above)")


async def _write(
    results: AsyncIterator[PoseResult], lines: TextIO, progress: Callable[[int], object]
) -> None:
    """Write a line for each record of a frame up to the `end`.

    Raises `KinestreamError` if workers with another model had a part in it.
    """
    models: set[str] = set()
    async for result in results:
        if result.status == "end":
            break
        models |= {result.model} - {""}
        if len(models) > 1:
            raise KinestreamError(
                f"workers with different models share this Redis ({', '.join(sorted(models))}), so the poses "
                "would be of both: leave --redis out for a server of its own"
            )
        lines.write(json.dumps(result.as_dict()) + "\n")
        progress(result.frames)


def _annotate(video: Path, output: Path, *, damaged: bool) -> None:
    """Let `kinestream render` write annotated.mp4; of a damaged file it draws what it can, and complains."""
    from kinestream.processes import GRACE_S, start_child

    arguments = ["render", str(video), str(output / "poses.jsonl"), "-o", str(output / "annotated.mp4")]
    with start_child(arguments, name="render", say=partial(click.echo, err=True)) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            os.kill(child.pid, signal.SIGINT)  # passed on as it is, so that no half of a video is left
            with contextlib.suppress(TimeoutError):
                child.wait(GRACE_S)
            raise
        if code and not damaged:
            raise KinestreamError("annotated.mp4 could not be written (see the line above)")


def _camera_of(video: Path) -> str:
    """A camera name that is this file's and this command's: two of one name would fence each other off."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", video.stem).strip("-_.")[:50] or "video"
    return f"{stem}-{secrets.token_hex(3)}"
