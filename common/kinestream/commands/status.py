"""`kinestream status`: the ledger of every camera's newest run, once. Not for: results (see `kinestream
watch`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

import click

from kinestream.cli import redis_option

if TYPE_CHECKING:
    from kinestream.ledger import Ledger

_PIPE_WIDTH = 200
"""Columns for a table that no terminal limits; a `grep` shall find a long name in one piece."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a camera, one a line.")
@redis_option
def status(as_json: bool, redis_url: str | None) -> None:
    """Show what became of every frame of every camera, in its newest run.

    produced = ok + dropped + stale + failed + lost + in flight, at every instant. Frames in flight are
    counted in Redis's streams, not derived from the other numbers, so that the sum can tell.
    """
    from kinestream.embedded import find_redis_url
    from kinestream.ledger import read_ledgers
    from kinestream.redis import connect

    url = find_redis_url(redis_url)

    async def read() -> list[Ledger]:
        client = connect(url)
        try:
            return await read_ledgers(client)
        finally:
            await client.aclose()

    ledgers = asyncio.run(read())
    if as_json:
        for ledger in ledgers:
            facts = dataclasses.asdict(ledger) | {"waiting": ledger.waiting, "balanced": ledger.balanced}
            click.echo(json.dumps(facts))
    elif ledgers:
        _show(ledgers)
    else:
        click.echo("no camera has begun a run yet; begin one with: kinestream ingest SOURCE --camera NAME")


def _show(ledgers: list[Ledger]) -> None:
    """The table, then what it has no room for: causes, and whether the sums balance."""
    from rich.console import Console

    from kinestream.overview import causes_text, ledger_table

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    Console(width=_PIPE_WIDTH if piped else None).print(ledger_table(ledgers))
    for ledger in ledgers:
        if causes := causes_text(ledger):
            click.echo(f"{ledger.camera} run {ledger.run}: {causes}")
    for ledger in ledgers:
        if not ledger.balanced:
            off = ledger.produced - ledger.accounted
            click.echo(f"{ledger.camera} run {ledger.run}: NOT BALANCED, {off:+d} frames are unaccounted for")
    if all(ledger.balanced for ledger in ledgers):
        click.echo("balanced: every frame of these runs is accounted for")
