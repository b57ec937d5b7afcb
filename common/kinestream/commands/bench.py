"""`kinestream bench`: how many cameras fit on this machine within a latency.

It starts the very workers that a user would type, on a Redis of their own, and programs in place of cameras.
Not for: what is measured, and how (see `kinestream.bench`).
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kinestream.errors import UsageError

if TYPE_CHECKING:
    from kinestream.bench.trial import Trial

_BEGIN_AT = 0.7
"""The part of what is possible at all with which the search begins."""


@click.command(short_help="Measure how many cameras fit on this machine within a latency.")
@click.option(
    "--cameras", type=click.IntRange(1, 2000), help="Try this number only.  [default: look for the largest]"
)
@click.option(
    "--fps", type=click.FloatRange(0.1, 240), default=15.0, show_default=True, help="Of each camera."
)
@click.option(
    "--size", default="640x480", show_default=True, metavar="WxH", help="Of each camera's pictures."
)
@click.option("--model", default="auto", show_default=True, metavar="NAME|FILE", help="As for `worker`.")
@click.option("--device", default="auto", show_default=True, help="As for `worker`.")
@click.option("--engine", metavar="NAME", help="As for `worker`.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Workers to start.")
@click.option("--threads", type=click.IntRange(1), help="As for `worker`.")
@click.option("--max-batch", type=click.IntRange(1, 256), help="As for `worker`.")
@click.option(
    "--target-p95",
    default="100ms",
    show_default=True,
    metavar="TIME",
    help="From capture to result, for 95 of 100 frames, such as 80ms; workers get it too.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=5.0,
    show_default=True,
    help="Of each trial, besides 2.5 to settle.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, and nothing else there.")
def bench(
    cameras: int | None, fps: float, size: str, target_p95: str, seconds: float, as_json: bool, **words: Any
) -> None:
    """How many cameras of FPS frames a second are served here within the target?

    Live cameras with pictures of the test card that were encoded beforehand, workers as you would start them,
    and a Redis of their own. A number of cameras fits if 95 of 100 results are there in time, and of 100
    frames at most one has none. The test takes about a minute; other work on this machine makes it worse.

    \b
    kinestream bench --model rtmo-s --target-p95 80ms
    kinestream bench --cameras 12 --fps 30 --size 1280x720
    kinestream bench --workers 2 --threads 1
    """
    from kinestream.bench.stage import draw_jpegs
    from kinestream.durations import parse_ms
    from kinestream.embedded import EmbeddedRedis
    from kinestream.errors import SourceError
    from kinestream.modelchoice import settled_model

    target_ms = parse_ms(target_p95, "target-p95")
    words["model"] = settled_model(words["model"])
    count = words.pop("workers")
    work = ["worker", "--target-p95", target_p95]
    for name, value in words.items():
        if value is not None:
            work += [f"--{name.replace('_', '-')}", str(value)]
    with tempfile.TemporaryDirectory(prefix="kinestream-bench-") as folder:
        try:
            draw_jpegs(Path(folder), size)
        except SourceError as error:
            raise UsageError(str(error)) from error
        with EmbeddedRedis(private=True) as server:
            found = asyncio.run(
                _bench(server.url, Path(folder), [work] * count, cameras, fps, target_ms, seconds)
            )
    click.echo(found["verdict"], err=as_json)
    if as_json:
        asked = {"fps": fps, "size": size, "target_p95_ms": target_ms, "workers": count, **words}
        click.echo(json.dumps({**asked, **found}, indent=1))


async def _bench(
    url: str,
    folder: Path,
    workers: list[list[str]],
    cameras: int | None,
    fps: float,
    target_ms: float,
    seconds: float,
) -> dict[str, Any]:
    """Start the workers and make the trials; what is told meanwhile goes to stderr."""
    from kinestream.bench.stage import Stage
    from kinestream.crew import Crew
    from kinestream.processes import capture_signals
    from kinestream.redis import connect

    say = partial(click.echo, err=True)
    async with connect(url) as client:
        with capture_signals() as stop, Crew(url, say) as crew:
            for number, work in enumerate(workers, 1):
                crew.start(work, name=f"worker {number}")
            stage = Stage(client, url, folder, fps)

            async def work_through() -> dict[str, Any]:
                reports = await stage.workers(len(workers))
                trials, most = await _trials(stage, cameras, fps, target_ms, seconds, say)
                return {
                    "engine": reports[0].engine,
                    "verdict": _verdict(trials, cameras, fps, target_ms),
                    "frames_per_s_at_most": most,
                    "cameras": max((one.cameras for one in trials if one.fits(target_ms)), default=0),
                    "trials": [trial.as_dict(target_ms) for trial in trials],
                }

            return await crew.until(asyncio.create_task(work_through()), stop)


async def _trials(
    stage: Any,
    cameras: int | None,
    fps: float,
    target_ms: float,
    seconds: float,
    say: Callable[[str], object],
) -> tuple[list[Trial], float | None]:
    """The trials, each told when it is over, and the frames a second that are possible, if looked for."""
    from kinestream.bench.search import next_number

    most = None if cameras else await stage.capacity(min(seconds, 3.0))
    if most is not None:
        say(f"at most {most:.1f} frames/s when frames are always waiting")
    say(f"{'cameras':>8}{'frames/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'no result':>11}{'batch':>7}")
    trials: dict[int, Trial] = {}
    number = cameras or next_number({}, round(_BEGIN_AT * (most or 0) / fps))
    while number is not None:
        trials[number] = trial = await stage.trial(number, seconds)
        say(_row(trial, target_ms))
        tried = {count: one.fits(target_ms) for count, one in trials.items()}
        number = None if cameras else next_number(tried, 0)
    return [trials[number] for number in sorted(trials)], most


def _row(trial: Trial, target_ms: float) -> str:
    times = "".join(f"{ms:9.1f}" for ms in (trial.p50_ms, trial.p95_ms, trial.p99_ms))
    fits = "fits" if trial.fits(target_ms) else "does not fit"
    return f"{trial.cameras:8}{trial.frames_per_s:10.1f}{times}{trial.lost:11.1%}{trial.batch:7.1f}  {fits}"


def _verdict(trials: list[Trial], asked: int | None, fps: float, target_ms: float) -> str:
    """The last line: one sentence that answers what was asked."""
    fitting = [trial for trial in trials if trial.fits(target_ms)]
    each = f"{fps:g} frames/s"
    if fitting:
        best = fitting[-1]
        verb = "fits" if best.cameras == 1 else "fit"
        plural = "" if best.cameras == 1 else "s"
        who = f"{best.cameras} camera{plural} of {each}"
        return f"{who} {verb} within {target_ms:g} ms (p95 {best.p95_ms:.0f} ms)"
    worst = trials[0]
    who = f"{asked} cameras of {each} do not fit" if asked and asked > 1 else f"not one camera of {each} fits"
    why = f"p95 is {worst.p95_ms:.0f} ms" if worst.p95_ms == worst.p95_ms else "no frame had a result"
    return (
        f"{who} within {target_ms:g} ms: {why}, {worst.lost:.0%} of the frames had no result; fewer frames "
        "(--fps), a smaller model or a faster device would help"
    )
