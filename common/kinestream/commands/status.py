"""`kinestream status`: the ledger of every camera's newest run, once. Not for: results (see `kinestream
watch`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json

import click

from kinestream.cli import redis_option


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a camera, one a line.")
@redis_option
def status(as_json: bool, redis_url: str | None) -> None:
    """Show what became of every frame of every camera.

    produced = ok + dropped + stale + failed + lost + in flight, at every instant; the last column says so.
    Frames in flight are counted in Redis's streams, not derived from the other numbers.
    """
    from rich.console import Console

    from kinestream.embedded import find_redis_url
    from kinestream.ledger import Ledger, read_ledgers
    from kinestream.overview import ledger_table
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
        Console().print(ledger_table(ledgers))
    else:
        click.echo("no camera has begun a run yet")
