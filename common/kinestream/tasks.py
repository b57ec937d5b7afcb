"""Ending asyncio tasks for certain, and waiting for an event. Not for: starting tasks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

_AGAIN_S = 0.25


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended; their errors are not raised.

    Before Python 3.12 `asyncio.wait_for` may swallow a cancellation, so it is sent again.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


async def happened(event: asyncio.Event, timeout_s: float | None = None) -> None:
    """Wait until an event is set, for `timeout_s` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
