"""`kinestream trace`: one frame's story in a few lines. Not for: finding it (see `kinestream.trace`)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from kinestream.cli import redis_option
from kinestream.fields import MAX_INTEGER

if TYPE_CHECKING:
    from kinestream.messages import PoseResult
    from kinestream.trace import Trace

_STAGES = {
    "encoded": "by its producer",
    "queued": "in Redis, from offer to take",
    "decoded": "by the worker",
    "waited": "for its batch and for the engine",
    "inferred": "with its batch",
}
"""The timings of a record in the order in which they pass, and where."""

_BAR = 40
"""Characters of the longest stage's bar."""


@click.command(short_help="Where one frame is, and where its milliseconds went.")
@click.argument("camera")
@click.argument("run", type=click.IntRange(1, MAX_INTEGER))
@click.argument("seq", type=click.IntRange(0, MAX_INTEGER))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@redis_option
def trace(camera: str, run: int, seq: int, as_json: bool, redis_url: str | None) -> int:
    """Tell where frame SEQ of a RUN of CAMERA is, who had it, how often, and where its milliseconds went.

    Records are kept for some minutes, ledgers for a day. Exit code 1: nothing is known of the frame.
    """
    from kinestream.embedded import find_redis_url
    from kinestream.keys import check_camera
    from kinestream.redis import connect
    from kinestream.trace import trace

    check_camera(camera)
    url = find_redis_url(redis_url)

    async def look() -> Trace:
        async with connect(url) as client:
            return await trace(client, camera, run, seq)

    found = asyncio.run(look())
    for line in [json.dumps(_facts(found))] if as_json else _story(found, f"{camera} {run}-{seq}", seq):
        click.echo(line)
    return 0 if found.in_flight or found.records or found.letters else 1


def _facts(found: Trace) -> dict[str, Any]:
    return {
        "ledger": found.ledger and dataclasses.asdict(found.ledger),
        "in_flight": found.in_flight and dataclasses.asdict(found.in_flight),
        "records": [record.as_dict() | {"committed_ms": record.committed_ms} for record in found.records],
        "dead_letters": [letter.id for letter in found.letters],
    }


def _story(found: Trace, name: str, seq: int) -> Iterator[str]:
    if held := found.in_flight:
        where = (
            f"held by {held.holder}, for {held.idle_ms} ms since it last renewed"
            if held.holder
            else "waiting"
        )
        yield f"{name}: in flight, {where}; delivered {held.deliveries} times so far"
    for record in found.records:
        yield from _told(record, name)
    for letter in found.letters:
        yield f"{name}: a dead letter, {letter.error or letter.cause}; kinestream dead show {letter.id}"
    if not (held or found.records or found.letters):
        yield _unknown(found, name, seq)


def _told(record: PoseResult, name: str) -> Iterator[str]:
    what = f"{len(record.people)} people" if record.status == "ok" else record.cause or "no cause"
    if record.last != record.seq:
        what += f", one record for {record.seq} to {record.seq_to}"
    yield f"{name}: {record.status}, {what}"
    if record.worker:
        batch = f" in a batch of {record.batch}" if record.batch else ""
        model = f", model {record.model}" if record.model else ""
        yield f"  worker     {record.worker}{batch}{model}; delivered {record.deliveries} times"
    if record.origin:
        yield f"  origin     {record.origin}"
    if record.captured_us is not None:
        by = f", clock: {record.clock}" if record.clock else ""
        yield f"  captured   {_clock(record.captured_us / 1e6)}{by}"
    longest = max(record.timings.values(), default=0.0) or 1.0
    for stage, where in _STAGES.items():
        if stage in record.timings:
            ms = record.timings[stage]
            yield f"  {stage:9} {ms:8.1f} ms  {'#' * round(_BAR * ms / longest):{_BAR}}  {where}"
    if record.committed_ms is not None:
        late = ""
        if record.captured_us is not None:
            late_ms = record.committed_ms - record.captured_us / 1000
            late = f", {late_ms:.0f} ms after its capture (by two clocks)"
        yield f"  committed  {_clock(record.committed_ms / 1000)}{late}"


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S.%f")[:-3] + " UTC"


def _unknown(found: Trace, name: str, seq: int) -> str:
    if found.ledger is None:
        return f"{name}: there is no such run, or it ended more than a day ago"
    produced, state, ok = found.ledger.produced, found.ledger.state, found.ledger.ok
    if seq >= produced:
        return f"{name}: not produced; its run has {produced} frames and is {state}"
    return f"{name}: its record is no longer kept; of its run {ok} of {produced} are ok"
