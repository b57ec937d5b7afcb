"""Ending asyncio tasks for certain. Not for: starting them."""

from __future__ import annotations

import asyncio
from typing import Any

_AGAIN_S = 0.25


async def cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended; their errors are not raised.

    Before Python 3.12 a cancellation may be swallowed where redis-py waits, so it is sent again.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
