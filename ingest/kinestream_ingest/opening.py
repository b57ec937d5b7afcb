"""Opening a source without waiting for it longer than somebody wants it: a camera may take its time to
answer.

Not for: what a source is (see `sources/`), nor for when it is opened again (`feed.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from kinestream_ingest.sources import Source


async def opened(open_it: Callable[[], Source], stop: asyncio.Event) -> Source | None:
    """Open a source in a thread, and return it; None if `stop` is set first, and then it is closed again.

    The thread is a daemon: a camera that does not answer must not keep a process that was told to stop.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Source] = loop.create_future()

    def tell(source: Source | None, error: Exception | None) -> None:
        if outcome.cancelled():
            if source is not None:
                source.close()
        elif error is not None:
            outcome.set_exception(error)
        elif source is not None:
            outcome.set_result(source)

    def run() -> None:
        source: Source | None = None
        error: Exception | None = None
        try:
            source = open_it()
        except Exception as failure:  # the loop raises it
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop was closed: the process ends
            loop.call_soon_threadsafe(tell, source, error)

    threading.Thread(target=run, name="opening", daemon=True).start()
    stopping = asyncio.ensure_future(stop.wait())
    try:
        waited: list[asyncio.Future[Any]] = [outcome, stopping]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not outcome.done():
            outcome.cancel()
    if outcome.cancelled():
        return None
    return outcome.result()
