"""`kinestream status`: the ledger of every camera's newest run, the workers, and where the milliseconds go.

Not for: results (see `kinestream watch`), nor for single frames (`kinestream trace`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from rich.console import RenderableType

    from kinestream.camerastate import CameraState
    from kinestream.ledger import Ledger
    from kinestream.workerreports import WorkerReport

_PIPE_WIDTH = 200
"""Columns for a table that no terminal limits; a `grep` shall find a long name in one piece."""

_REFRESH_S = 1.0

_NOBODY = "no camera has begun a run yet; begin one with: kinestream ingest SOURCE --camera NAME"


@click.command(short_help="What became of every frame, what the workers do, how long it takes.")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a camera, worker and stage, one a line."
)
@redis_option
def status(watch: bool, as_json: bool, redis_url: str | None) -> None:
    """Show what became of every frame of every camera, in its newest run; how each camera is, as its producer
    tells every second; what the workers do; how long it takes.

    produced = ok + dropped + stale + failed + lost + in flight, at every instant. Frames in flight are
    counted in Redis's streams, not derived from the other numbers, so that the sum can tell. Workers and
    stages are of the last minute or two, as the workers report them.
    """
    from kinestream.embedded import find_redis_url

    url = find_redis_url(redis_url)
    if watch:
        asyncio.run(_watch(url, as_json))
    else:
        asyncio.run(_show_once(url, as_json))


@dataclass(frozen=True, slots=True)
class _Seen:
    ledgers: list[Ledger]
    ages_s: dict[str, float]
    reports: list[WorkerReport]
    states: list[CameraState]


async def _read(client: Redis) -> _Seen:
    from kinestream.camerastate import camera_states, told_cameras
    from kinestream.ledger import read_ledgers
    from kinestream.waiting import oldest_waiting_s
    from kinestream.wanted import read_wanted
    from kinestream.workerreports import read_reports

    ledgers = await read_ledgers(client)
    ages_s = await oldest_waiting_s(client, [ledger.camera for ledger in ledgers])
    names = {ledger.camera for ledger in ledgers} | (await read_wanted(client)).specs.keys()
    names |= {*await told_cameras(client)}
    states = await camera_states(client, sorted(names))
    return _Seen(ledgers, ages_s, await read_reports(client), [*states.values()])


async def _show_once(url: str, as_json: bool) -> None:
    from rich.console import Console

    from kinestream.redis import connect

    async with connect(url) as client:
        seen = await _read(client)
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    console = Console(width=_PIPE_WIDTH if piped else None)
    for part in _json_lines(seen) if as_json else _parts(seen):
        if isinstance(part, str):
            click.echo(part)
        else:
            console.print(part)


async def _watch(url: str, as_json: bool) -> None:
    """Show it again and again; an outage of Redis is waited for, as every process of Kinestream does."""
    from functools import partial

    from rich.console import Group
    from rich.live import Live

    from kinestream.logs import log_above
    from kinestream.processes import capture_signals
    from kinestream.redis import connect, through_outages

    live = Live(auto_refresh=False)
    with capture_signals() as stop, contextlib.nullcontext() if as_json else live, log_above():
        async with connect(url) as client:
            while not stop.is_set():
                seen = await through_outages(partial(_read, client), what="looking", stop=stop)
                if as_json:
                    click.echo("\n".join(_json_lines(seen)))
                else:
                    live.update(Group(*_parts(seen)), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _REFRESH_S)


def _json_lines(seen: _Seen) -> Iterator[str]:
    from kinestream.workerreports import merged_stages

    for ledger in seen.ledgers:
        sums = {"waiting": ledger.waiting, "oldest_waiting_s": seen.ages_s[ledger.camera]}
        sums |= {"balanced": ledger.balanced}
        yield json.dumps(dataclasses.asdict(ledger) | sums)
    for state in seen.states:
        facts = dataclasses.asdict(state)
        yield json.dumps({"camera_state": facts.pop("state"), "of": facts.pop("camera"), **facts})
    for report in seen.reports:
        facts = json.loads(report.pack())
        del facts["stages"]
        yield json.dumps({"worker": facts.pop("name"), **facts})
    for stage, histogram in merged_stages(seen.reports).items():
        quantiles = {f"p{round(100 * part)}_ms": histogram.quantile(part) for part in (0.5, 0.95, 0.99)}
        yield json.dumps({"stage": stage, **quantiles, "frames": histogram.total})


def _parts(seen: _Seen) -> Iterator[RenderableType]:
    """Tables and lines: the sums, what is to be said about them, then workers and stages if there are any."""
    from kinestream.overview import ledger_table, stage_table, state_table, worker_table
    from kinestream.workerreports import merged_stages

    if seen.ledgers:
        yield ledger_table(seen.ledgers)
    yield from _notes(seen)
    if seen.states:
        yield ""
        yield state_table(seen.states)
        yield from (f"{state.camera}: {state.error}" for state in seen.states if state.error)
    if seen.reports:
        yield ""
        yield worker_table(seen.reports)
    elif any(ledger.state == "open" or ledger.in_flight for ledger in seen.ledgers):
        yield "no worker is at work; start one with: kinestream worker"
    if stages := merged_stages(seen.reports):
        yield ""
        yield stage_table(stages)


def _notes(seen: _Seen) -> Iterator[str]:
    """What the tables have no room for: causes, what waits for how long, and whether the sums balance."""
    from kinestream.overview import causes_text

    if not seen.ledgers:
        yield _NOBODY
        return
    for ledger in seen.ledgers:
        if causes := causes_text(ledger):
            yield f"{ledger.camera} run {ledger.run}: {causes}"
        if age_s := seen.ages_s[ledger.camera]:
            yield f"{ledger.camera}: {ledger.waiting} frames wait, the oldest for {age_s:.1f} s"
    for ledger in seen.ledgers:
        if not ledger.balanced:
            off = ledger.produced - ledger.accounted
            yield f"{ledger.camera} run {ledger.run}: NOT BALANCED, {off:+d} frames are unaccounted for"
    if all(ledger.balanced for ledger in seen.ledgers):
        yield "balanced: every frame of these runs is accounted for"
