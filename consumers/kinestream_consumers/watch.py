"""Shows results as they are published: JSON lines for programs, a table for people. Not for: keeping them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TextIO

from rich.console import Console
from rich.live import Live

from kinestream.logs import log_above
from kinestream.messages import PoseResult
from kinestream.overview import Results
from kinestream_consumers.jsonlines import to_line

_REFRESH_S = 0.5


async def write_lines(results: AsyncIterator[PoseResult], output: TextIO) -> None:
    """Write each record as one line of JSON, flushed, so that a pipe gets it at once."""
    async for result in results:
        output.write(to_line(result))
        output.flush()


async def show_table(results: AsyncIterator[PoseResult], console: Console) -> None:
    """Show a table of the cameras, drawn anew twice a second; its last state stays when this ends."""
    overview = Results()

    async def refresh() -> None:
        while True:
            live.update(overview.table(), refresh=True)
            await asyncio.sleep(_REFRESH_S)

    mixed = sys.stderr.isatty()  # else log lines go where they were sent, and the table is alone
    with (
        Live(overview.table(), console=console, auto_refresh=False, redirect_stderr=mixed) as live,
        log_above(),
    ):
        refreshing = asyncio.ensure_future(refresh())
        try:
            async for result in results:
                overview.add(result)
        finally:
            refreshing.cancel()
            live.update(overview.table())


async def first(results: AsyncIterator[PoseResult], count: int) -> AsyncIterator[PoseResult]:
    """The first `count` records."""
    left = count
    async for result in results:
        yield result
        left -= 1
        if not left:
            return
