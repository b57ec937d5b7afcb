"""Whether a process lives, and whether it is ready: the two questions that supervisors ask.

It lives while its event loop turns, which the loop itself must tell, by a timestamp: whoever is asked stands
in another thread, and would answer for a loop that is stuck. It is ready when it can do its work now. A
process that waits for Redis, or for its camera, lives and is not ready: it goes on by itself, and killing it
would help nobody.

Pure. Not for: answering over HTTP (see `server.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

STUCK_S = 10.0
"""A loop that has not turned for so long is stuck; a machine that is only busy is quicker."""

STARTING = "starting"


class Health:
    """The state of one process; `clock` gives seconds, of which only differences count.

    `doing` is what still keeps the process from being ready ("warming up"), or an empty text. Texts are for
    people.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.doing = STARTING
        self._clock = clock
        self._turned_s: float | None = None
        self._checks: list[Callable[[], str]] = []

    def turn(self) -> None:
        """Tell, from the event loop, that it turns; call it every second or so."""
        self._turned_s = self._clock()

    def add_check(self, check: Callable[[], str]) -> None:
        """Ask `check` too whether the process is ready: it says what is missing, or an empty text.

        It is called from other threads and must not wait.
        """
        self._checks.append(check)

    @property
    def stuck(self) -> str:
        """Why the process does not live, or an empty text. One whose loop has not begun yet is starting."""
        turned_s = self._turned_s
        ago_s = 0.0 if turned_s is None else self._clock() - turned_s
        return f"the event loop has not turned for {ago_s:.0f} s" if ago_s > STUCK_S else ""

    @property
    def unready(self) -> str:
        """Why the process is not ready, or an empty text."""
        reasons = (self.stuck, self.doing, *(check() for check in self._checks))
        return next(filter(None, reasons), "")
