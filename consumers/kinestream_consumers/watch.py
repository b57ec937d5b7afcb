"""Shows results as they are published: JSON lines for programs, a table for people. Not for: keeping them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import TextIO

from rich.console import Console
from rich.live import Live

from kinestream.messages import PoseResult
from kinestream.overview import Results

_REFRESH_S = 0.5


async def write_lines(results: AsyncIterator[PoseResult], output: TextIO) -> None:
    """Write each record as one line of JSON, flushed, so that a pipe gets it at once."""
    async for result in results:
        line = {**result.as_dict(), "committed_ms": result.committed_ms, "cursor": result.cursor}
        output.write(json.dumps(line) + "\n")
        output.flush()


async def show_table(results: AsyncIterator[PoseResult], console: Console) -> None:
    """Show a table of the cameras that is redrawn twice a second."""
    overview = Results()
    drawn_s = 0.0
    with Live(overview.table(), console=console, auto_refresh=False) as live:
        async for result in results:
            overview.add(result)
            if time.monotonic() - drawn_s >= _REFRESH_S:
                live.update(overview.table(), refresh=True)
                drawn_s = time.monotonic()
        live.update(overview.table(), refresh=True)


async def first(results: AsyncIterator[PoseResult], count: int) -> AsyncIterator[PoseResult]:
    """The first `count` records."""
    left = count
    async for result in results:
        yield result
        left -= 1
        if not left:
            return
