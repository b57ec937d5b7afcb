"""Opening and warming up an engine: whoever stops a worker that is at it need not wait for the end of it.

A library that loads a model, or builds one for a device for minutes, cannot be interrupted, and Python does
not end while a thread of its own is in it. A worker that has not begun holds nothing, so it may end as it is.

Not for: an engine that hangs later (see `enginethread.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

from kinestream.tasks import cancel

PATIENCE_S = 3.0
"""For a step to come to its end by itself, so that a quick one ends in good order."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


async def unless_stopped(step: Callable[[], T], stop: asyncio.Event) -> T:
    """Run `step` on a thread and return what it returns; once `stop` is set it has `PATIENCE_S` left.

    Then the process ends on the spot, with exit code 0: it was told to. Cancelled after that, as a second
    signal does, it ends at once.
    """
    stepping = asyncio.ensure_future(asyncio.to_thread(step))
    told = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({stepping, told}, return_when=asyncio.FIRST_COMPLETED)
        if not stepping.done():
            await asyncio.wait({stepping}, timeout=PATIENCE_S)
        if not stepping.done():
            _log.info("stopped before it began to work")
            _end_at_once(0)
        return await stepping
    except asyncio.CancelledError:
        if stop.is_set() and not stepping.done():
            _end_at_once(128 + signal.SIGINT)
        raise
    finally:
        await cancel(told)


def _end_at_once(code: int) -> None:
    for stream in sys.stdout, sys.stderr:
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)
