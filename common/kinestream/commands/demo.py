"""`kinestream demo`: the whole pipeline on one machine, with one command, and a worker that is killed on the
way.

The demo is the tutorial: it shows each command before it starts it, and starts nothing but commands that a
user could type. Not for: anything lasting; its Redis server ends with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kinestream.errors import KinestreamError

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from rich.live import Live

    from kinestream.crew import Crew
    from kinestream.ledger import Ledger
    from kinestream.overview import Results
    from kinestream.processes import Child

SECONDS = 12
"""Length of the test card's runs: long enough to see the worker die and the next one catch up."""

SOURCES = (
    f"testcard://?athletes=4&motion=walk&fps=30&size=1280x720&seed=7&seconds={SECONDS}",
    f"testcard://?athletes=3&motion=jump&fps=30&size=1280x720&seed=8&seconds={SECONDS}",
)

LEASE_MS = 1500
"""Shorter than a worker's default, so that nobody has to wait for the end of the story."""

KILL_AFTER_S = 5.0
"""From the first result to the death of the worker."""

WORKER = "worker"

_REFRESH_S = 0.5

_TRIES = 20
"""Looks, within one refresh, for a moment at which the worker holds frames; a fast machine has few such."""


@click.command(short_help="See the whole pipeline run, on test cards, with one command.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="A source for `ingest`, in place of the two test cards; may be repeated.",
)
@click.option(
    "--model",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="As for `worker`; for test cards, `auto` is `testcard`.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("kinestream-demo"),
    show_default=True,
    help="Folder to write to.",
)
def demo(sources: tuple[str, ...], model: str, output: Path) -> None:
    """Run two cameras through Redis and a worker, and record what comes out.

    One camera is live: it stays fresh and drops what cannot be kept up with. The other one is complete: it
    waits. The worker is killed on the way, as kill -9 does; the next one finishes its frames, and the sum
    still balances. While it runs, a second terminal can look on: kinestream watch

    The first Ctrl-C ends the cameras earlier; what there is until then is written, and summed up.
    """
    from kinestream.embedded import own_redis
    from kinestream.modelchoice import settled_model
    from kinestream.overview import sum_line

    begun_s = time.monotonic()
    sources = sources or SOURCES
    if model == "auto" and all(source.startswith("testcard:") for source in sources):
        model = "testcard"
        click.echo(
            "The model is testcard, which reads test cards: RTMO, which finds people, finds nobody there."
        )
    model = settled_model(model)
    with own_redis() as server:
        ledgers = asyncio.run(_demo(server.url, sources, model, output))
    if ledgers:
        click.echo("What became of every frame:")
    for ledger in ledgers:
        click.echo("  " + sum_line(ledger))
    for path in sorted(output.glob("[!.]*.*")):
        click.echo(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    click.echo(f"That took {time.monotonic() - begun_s:.0f} s.")
    if not all(ledger.balanced for ledger in ledgers):
        raise KinestreamError("a ledger does not balance")


async def _demo(url: str, sources: Sequence[str], model: str, output: Path) -> Sequence[Ledger]:
    """Run the children until the recorder has seen all cameras end; return their ledgers."""
    from rich.console import Console
    from rich.live import Live

    from kinestream.crew import Crew
    from kinestream.ledger import read_ledgers
    from kinestream.overview import Results
    from kinestream.processes import capture_signals
    from kinestream.redis import connect

    console = Console()
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(f"A Redis server of its own runs at {url}. Lines that begin with $ could be typed.")
    if sources == SOURCES:
        say("The cameras are test cards: a test signal with known joints, not people.")
    client = connect(url)
    results = Results()
    try:
        with capture_signals() as stop, Crew(url, say) as crew:
            cast = _start(crew, sources, model, output)
            with Live(console=console, auto_refresh=False) as live:
                watching = asyncio.create_task(_watch(client, results))
                try:
                    await _play(client, crew, cast, results, live, stop)
                finally:
                    watching.cancel()
            if not console.is_terminal:
                console.line()  # Live leaves the end of its last line to others
        return await read_ledgers(client)
    finally:
        await client.aclose()


@dataclass(frozen=True, slots=True)
class _Cast:
    """The children that have a part of their own in the story."""

    cameras: Sequence[Child]
    recorder: Child


def _start(crew: Crew, sources: Sequence[str], model: str, output: Path) -> _Cast:
    """Start the worker, the recorder, and a camera for each source: the first one live, the others
    complete.
    """
    names = [f"camera-{number}" for number in range(1, len(sources) + 1)]
    crew.start(["worker", "--model", model, "--lease-ms", str(LEASE_MS)], name=WORKER, restart=True)
    record = ["record", *names, "-o", str(output), "--until-end", "--from", "beginning"]
    recorder = crew.start(record, name="record")
    cameras = []
    for name, source in zip(names, sources, strict=True):
        lane = "live" if name == names[0] else "every-frame"
        ingest = ["ingest", source, "--camera", name, "--lane", lane, "--realtime"]
        cameras.append(crew.start(ingest, name=name))
    return _Cast(cameras, recorder)


async def _play(
    client: Redis, crew: Crew, cast: _Cast, results: Results, live: Live, stop: asyncio.Event
) -> None:
    """Show the cameras until the recorder has seen all of them end; kill the worker once in between."""
    from kinestream.ledger import read_ledgers
    from kinestream.overview import live_table

    first_result_s: float | None = None
    killed = False
    while cast.recorder.exit_code is None:
        await asyncio.sleep(_REFRESH_S)
        crew.look_after()
        ledgers = await read_ledgers(client)
        live.update(live_table(ledgers, results), refresh=True)
        if stop.is_set():
            _end_early(crew, cast, ledgers)
            continue
        if first_result_s is None and any(ledger.ok for ledger in ledgers):
            first_result_s = time.monotonic()
        if first_result_s is not None and not killed and time.monotonic() - first_result_s > KILL_AFTER_S:
            killed = True
            await _kill_worker(client, crew, live)


def _end_early(crew: Crew, cast: _Cast, ledgers: Sequence[Ledger]) -> None:
    """End the cameras' runs as they should end, and with them the recording; call it until that has ended."""
    for camera in cast.cameras:
        crew.dismiss(camera)
    if all(camera.exit_code is not None for camera in cast.cameras) and len(ledgers) < len(cast.cameras):
        crew.dismiss(cast.recorder)  # it waits for the end of a run that has never begun


async def _kill_worker(client: Redis, crew: Crew, live: Live) -> None:
    """Kill the worker at a moment when it has frames in its hands, if such a moment is found soon."""
    from kinestream.ledger import read_ledgers

    worker = crew.child(WORKER)
    held = 0
    for _ in range(_TRIES):
        os.kill(worker.pid, signal.SIGSTOP)  # so that it stays true what is said about it
        held = sum(ledger.held for ledger in await read_ledgers(client))
        if held:
            break
        os.kill(worker.pid, signal.SIGCONT)
        await asyncio.sleep(_REFRESH_S / _TRIES)
    live.console.print(
        f"$ kill -9 {worker.pid}    # it holds at least {held} frames, which must not be lost",
        markup=False,
        highlight=False,
        soft_wrap=True,
        style="bold",
    )
    worker.kill()


async def _watch(client: Redis, results: Results) -> None:
    from kinestream.subscriber import subscribe

    async for result in subscribe(client, start="beginning"):
        results.add(result)
