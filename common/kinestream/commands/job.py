"""`kinestream job`: hand in a video, look at it, wait for it, end it, try it again.

Not for: doing it (`kinestream jobs`), nor the calls behind this (see `jobs/client.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kinestream.cli import redis_option
from kinestream.errors import UsageError

if TYPE_CHECKING:
    from kinestream.jobs.store import JobRecord

T = TypeVar("T")
_OUTPUTS = click.Choice(["jsonl", "csv", "video"])
_LOOK_S = 0.5

_outputs_option = click.option(
    "--output",
    "outputs",
    type=_OUTPUTS,
    multiple=True,
    help="What to make of the poses, several times if need be.",
)
_min_score_option = click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Leave people with a lower score out of csv and video.",
)
_force_option = click.option("--force", is_flag=True, help="As a new job, although there is one like it.")


@click.group(short_help="Hand in videos, and look after them.")
def job() -> None:
    """Hand in videos to be analysed in full, by `kinestream jobs` and the workers, and look after them."""


@job.command()
@click.argument("video")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Take every Nth frame.")
@click.option(
    "--max-side", type=click.IntRange(16), help="Shrink frames to this many pixels on the long side."
)
@_outputs_option
@_min_score_option
@_force_option
@redis_option
def submit(
    video: str,
    every: int,
    max_side: int | None,
    outputs: tuple[Any, ...],
    min_score: float,
    force: bool,
    redis_url: str | None,
) -> None:
    """Hand in VIDEO, a file or a URL, and print the name of its job.

    The same video with the same options is one job, until its results have expired.

    \b
    kinestream job submit jump.mp4
    kinestream job submit jump.mp4 --output csv --output video --every 2
    kinestream job watch $(kinestream job submit jump.mp4)
    """
    hand_in(
        redis_url,
        video,
        every=every,
        max_side=max_side,
        outputs=outputs,
        min_score=min_score,
        force=force,
    )


def hand_in(redis_url: str | None, video: str, **options: Any) -> None:
    """Hand in a video, print the job's name, and say on stderr what comes next."""
    from kinestream.jobs.client import missing
    from kinestream.jobs.client import submit as submit_job

    async def work(url: str) -> None:
        handed_in = await submit_job(url, video, **options)
        click.echo(handed_in.id)
        if handed_in.is_new:
            if why := await missing(url):
                click.echo(f"it waits, since {why}", err=True)
        else:
            state = (await handed_in.progress()).state
            again = f"kinestream job retry {handed_in.id}, or " * (state in ("failed", "aborted"))
            click.echo(f"it was handed in before, and is {state}; to have it anew: {again}--force", err=True)

    _run(redis_url, work)


@job.command()
@click.argument("job_id", metavar="ID")
@_outputs_option
@_min_score_option
@_force_option
@redis_option
def export(
    job_id: str, outputs: tuple[Any, ...], min_score: float, force: bool, redis_url: str | None
) -> None:
    """Make other outputs of a job that is done, as a job of its own, and print its name."""
    from kinestream.jobs.client import export as export_job

    if not outputs:
        raise UsageError("say what to make of it: --output csv, --output video, --output jsonl")

    async def work(url: str) -> None:
        made = await export_job(url, job_id, outputs=outputs, min_score=min_score, force=force)
        click.echo(made.id)

    _run(redis_url, work)


@job.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a job, one a line.")
@redis_option
def list_(as_json: bool, redis_url: str | None) -> None:
    """List all jobs, oldest first."""
    from kinestream.jobs.client import list_jobs
    from kinestream.jobs.shown import facts_of, line_of

    records = _run(redis_url, list_jobs)
    for record in records:
        click.echo(json.dumps(facts_of(record)) if as_json else line_of(record))
    if not records and not as_json:
        click.echo("no jobs")


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@redis_option
def show(job_id: str, as_json: bool, redis_url: str | None) -> None:
    """Show all that is known of a job."""
    from kinestream.jobs.shown import facts_of, when

    record = _run(redis_url, lambda url: _progress(url, job_id))
    if as_json:
        click.echo(json.dumps(facts_of(record)))
        return
    for name, value in facts_of(record).items():
        if value not in ("", None, 0, [], {}):
            shown = when(value) if name.endswith("_ms") else value
            click.echo(f"{name.removesuffix('_ms'):10} {shown}")


@job.command()
@click.argument("job_id", metavar="ID")
@redis_option
def watch(job_id: str, redis_url: str | None) -> None:
    """Watch a job until it is over; the exit code is 1 if it has no results. Ctrl-C leaves it alone."""
    record = _run(redis_url, lambda url: _watch(url, job_id))
    record.raise_unless_done()
    click.echo(record.folder)
    if record.note:
        click.echo(record.note, err=True)


@job.command()
@click.argument("job_id", metavar="ID")
@redis_option
def abort(job_id: str, redis_url: str | None) -> None:
    """End a job: what is queued of it is cleared, and its run ends with the cause `aborted`."""

    async def work(url: str) -> None:
        from kinestream.jobs.client import find_job

        reply = await (await find_job(url, job_id)).abort()
        click.echo("aborted" if reply == "aborted" else "whoever works on it, or takes it up next, ends it")

    _run(redis_url, work)


@job.command()
@click.argument("job_id", metavar="ID")
@redis_option
def retry(job_id: str, redis_url: str | None) -> None:
    """Put a job that failed or was aborted back to the queue, or one whose process died."""

    async def work(url: str) -> None:
        from kinestream.jobs.client import find_job

        reply = await (await find_job(url, job_id)).retry()
        how = "as a new run, from the first frame" if reply == "again" else "the run goes on where it stands"
        click.echo(f"queued: {how}")

    _run(redis_url, work)


def _run(redis_url: str | None, work: Callable[[str], Coroutine[Any, Any, T]]) -> T:
    from kinestream.embedded import find_redis_url

    return asyncio.run(work(find_redis_url(redis_url)))


async def _progress(url: str, job_id: str) -> JobRecord:
    from kinestream.jobs.client import find_job

    return await (await find_job(url, job_id)).progress()


async def _watch(url: str, job_id: str) -> JobRecord:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from kinestream.jobs.client import find_job, missing
    from kinestream.jobs.shown import how_it_goes
    from kinestream.processes import capture_signals
    from kinestream.redis import connect, through_outages

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    progress = Progress(*columns, TextColumn("{task.fields[how]}"), console=Console(stderr=True))
    # Signals set an event, so that no call to Redis is cancelled midway.
    with capture_signals() as stop:
        async with connect(url) as redis:
            watched = await find_job(redis, job_id)
            with progress as bar:
                task = bar.add_task(job_id, total=None, how="")
                while not stop.is_set():
                    record = await through_outages(watched.progress, what=f"watching {job_id}", stop=stop)
                    how = how_it_goes(record)
                    if not record.over and not record.fps and record.stage != "writing":
                        why = await through_outages(
                            partial(missing, redis), what=f"watching {job_id}", stop=stop
                        )
                        how += f", {why}" if why else ""
                    bar.update(task, total=record.total or None, completed=record.done, how=how)
                    if record.over:
                        return record
                    with suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), _LOOK_S)
    raise KeyboardInterrupt
