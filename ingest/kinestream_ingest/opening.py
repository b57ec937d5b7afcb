"""Opening a source without waiting for it longer than somebody wants it: a camera may take its time to
answer, and a driver may never come back.

Not for: what a source is (see `sources/`), nor for when it is opened again (`retrying.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from kinestream.errors import SourceError
from kinestream_ingest.sources import Source

MOST_HANGING = 3
"""Tries of one camera that have not come back; no other one is made until one of them does. Each holds a
thread and what it has allocated, and a driver that hangs three times hangs a fourth time."""


class Opener:
    """Opens one source, again and again, in threads that may be left behind.

    With `patience_s` a try that takes longer is left alone, and is a failed one.
    """

    def __init__(self, open_it: Callable[[], Source], patience_s: float | None = None) -> None:
        self._open_it = open_it
        self._patience_s = patience_s
        self._left: set[threading.Thread] = set()

    @property
    def hanging(self) -> int:
        """How many tries have not come back though nobody waits for them any more."""
        self._left = {thread for thread in self._left if thread.is_alive()}
        return len(self._left)

    async def opened(self, stop: asyncio.Event) -> Source | None:
        """Open the source, and return it; None if `stop` is set first, and then it is closed again.

        Raises what opening raises, and `SourceError` when it hangs.
        """
        if self.hanging >= MOST_HANGING:
            raise SourceError(f"{self.hanging} tries to open it have not come back")
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
                source = self._open_it()
            except Exception as failure:  # the loop raises it
                error = failure
            with contextlib.suppress(RuntimeError):  # the loop was closed: the process ends
                loop.call_soon_threadsafe(tell, source, error)

        # A daemon: a camera that does not answer must not keep a process that was told to stop.
        thread = threading.Thread(target=run, name="opening", daemon=True)
        thread.start()
        stopping = asyncio.ensure_future(stop.wait())
        try:
            waited: list[asyncio.Future[Any]] = [outcome, stopping]
            await asyncio.wait(waited, timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not outcome.done():
                outcome.cancel()
                self._left.add(thread)
        if outcome.cancelled():
            if not stop.is_set():
                raise SourceError(f"opening it has not come back for {self._patience_s:g} s")
            return None
        return outcome.result()
