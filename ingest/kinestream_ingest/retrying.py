"""Opening a camera again and again until it is there: pauses that grow, with jitter, and never an end.

Not for: one try (see `opening.py`), nor for what becomes of a camera that is open (`feed.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from kinestream.errors import SourceError
from kinestream_ingest.opening import Opener
from kinestream_ingest.sources import Refused, Source

FIRST_PAUSE_S = 0.5
"""Before the first try: a camera whose connection was cut is there again at once."""

LONGEST_AWAY_S = 2.0
"""Between two tries of a camera that does not answer: it costs it nothing, and it shall be back within three
seconds of its return."""

LONGEST_PAUSE_S = 30.0
"""Between two tries of one that answers and refuses, or that breaks at once whenever it is back: it must not
be asked for a login every second, nor make a run of every second."""

STEADY_S = 10.0
"""A connection that held for so long was a good one: after it the pauses begin anew. One that breaks at once,
again and again, does not make a run every half second."""


class Backoff:
    """How long to wait before the next try: doubled from try to try up to a limit, with jitter."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S
        self._breaks_at_once = self._refused = False

    def held(self, seconds: float) -> None:
        """Tell for how long the last connection held."""
        self._breaks_at_once = seconds < STEADY_S
        if not self._breaks_at_once:
            self._next_s = FIRST_PAUSE_S

    def failed(self, error: SourceError) -> None:
        """Tell why the last try failed."""
        self._refused = isinstance(error, Refused)

    def pause_s(self) -> float:
        """Seconds to wait now; between half of the interval and all of it."""
        patient = self._breaks_at_once or self._refused
        longest = min(self._next_s, LONGEST_PAUSE_S if patient else LONGEST_AWAY_S)
        self._next_s = min(2 * self._next_s, LONGEST_PAUSE_S)
        return random.uniform(0.5, 1) * longest


async def paused(pause_s: float, stop: asyncio.Event) -> bool:
    """Wait, and return whether `stop` was set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), pause_s)
    return stop.is_set()


async def open_until(
    opener: Opener,
    backoff: Backoff,
    stop: asyncio.Event,
    *,
    failed: Callable[[str], None],
    before_try: Callable[[], Awaitable[None]] | None = None,
    at_once: bool = False,
) -> Source | None:
    """Pause and try until the source is open; None when told to stop.

    `before_try` may raise to end the trying, `failed` is told why each try failed. With `at_once` there is no
    pause before the first one.
    """
    while True:
        if not at_once and await paused(backoff.pause_s(), stop):
            return None
        at_once = False
        if before_try is not None:
            await before_try()
        try:
            return await opener.opened(stop)
        except SourceError as error:
            backoff.failed(error)
            failed(str(error))
