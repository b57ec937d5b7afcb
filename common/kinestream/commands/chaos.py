"""`kinestream chaos`: break everything that can break, for a while, and check what was promised.

Not for: doing it (see `kinestream.chaos`); here are options, help, and the words.
"""

from __future__ import annotations

import json
import random
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.errors import KinestreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinestream.chaos.figures import Happened
    from kinestream.chaos.performance import Settings
    from kinestream.chaos.verdict import Evidence

_SHOWN = 20
"""Broken promises that are shown in full: one bug as a rule breaks the same one for many frames."""

_SEEDS = 10_000
"""Few enough to be typed."""


@click.command(short_help="Break everything that can break, on a private Redis, and check what was promised.")
@click.option("--seconds", type=click.FloatRange(5), default=60.0, show_default=True, help="Time of faults.")
@click.option("--seed", type=click.IntRange(0), help="Repeat the schedule of this seed.  [default: any]")
@click.option("--cameras", type=click.IntRange(1, 32), default=3, show_default=True)
@click.option("--workers", type=click.IntRange(1, 16), default=2, show_default=True)
@click.option("--faults-per-minute", type=click.FloatRange(0.1, 240), default=20.0, show_default=True)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep every process's log and the figures in DIR.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures as one JSON object; the rest on stderr.")
def chaos(
    seconds: float,
    seed: int | None,
    cameras: int,
    workers: int,
    faults_per_minute: float,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Run cameras and workers on a Redis of their own, and break them while they work.

    By a schedule that follows from the seed, workers and producers are killed and frozen, producers replaced,
    Redis killed, restarted and frozen, network cameras hang, flood, send garbage and cut their connections, a
    subscriber is killed and resumes, and poison is offered. Then everything settles, and is checked: every
    frame has exactly one record, every sum balances, subscribers saw each frame once and in order, and no
    hold, process, file or memory is left. docs/reliability.md says what is promised.

    The cameras are test cards, and cost little. Ends with 1 if a promise is broken, and says which; the logs
    are kept then. The same seed and options give the same schedule; what is hit at that moment is up to the
    machine.

    \b
    Examples:
      kinestream chaos
      kinestream chaos --seconds 600 --faults-per-minute 10 --keep chaos-logs
      kinestream chaos --seed 4711
    """
    import shutil
    import tempfile

    from kinestream.chaos.figures import figures, lines
    from kinestream.chaos.performance import Settings
    from kinestream.chaos.verdict import broken_promises

    settings = Settings(
        seconds=seconds,
        seed=random.randrange(_SEEDS) if seed is None else seed,
        cameras=cameras,
        workers=workers,
        faults_per_minute=faults_per_minute,
    )

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="ks-chaos-"))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        folder = _folder(keep, place)
        say(f"Seed {settings.seed}. Lines that begin with $ could be typed.")
        evidence, happened = _play(settings, place, folder, say)
        broken = broken_promises(evidence)
        found = {**_said(settings), **figures(evidence, happened), "broken": broken}
        (folder / "figures.json").write_text(json.dumps(found, indent=1) + "\n")
        for line in lines(found):
            say(line)
        if as_json:
            click.echo(json.dumps(found))
        for promise in broken[:_SHOWN]:
            say(f"BROKEN  {promise}")
        if broken:
            kept = folder if keep else Path(shutil.move(folder, tempfile.mkdtemp(prefix="ks-chaos-logs-")))
            raise KinestreamError(
                f"broken promises: {len(broken)}; logs: {kept}; repeat: {_command(settings)}"
            )
    say("Every promise was kept.")


def _play(
    settings: Settings, place: Path, folder: Path, say: Callable[[str], object]
) -> tuple[Evidence, Happened]:
    import asyncio
    import logging

    from kinestream.chaos.performance import play
    from kinestream.processes import capture_signals

    # This process waits for Redis as well; that it does is no news when the schedule has just said why.
    logging.getLogger("kinestream.redis").setLevel(logging.ERROR)

    async def under_signals() -> tuple[Evidence, Happened]:
        with capture_signals() as stop:
            return await play(settings, place, folder, say, stop)

    return asyncio.run(under_signals())


def _folder(keep: Path | None, place: Path) -> Path:
    folder = keep or place / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty, and logs of two runs would be mixed up there")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    return folder.absolute()


def _said(settings: Settings) -> dict[str, float]:
    """The settings as they are told: what repeats this run."""
    return {
        "seed": settings.seed,
        "seconds": settings.seconds,
        "cameras": settings.cameras,
        "workers": settings.workers,
        "faults_per_minute": settings.faults_per_minute,
    }


def _command(settings: Settings) -> str:
    options = (f"--{name.replace('_', '-')} {value:g}" for name, value in _said(settings).items())
    return f"kinestream chaos {' '.join(options)}"
