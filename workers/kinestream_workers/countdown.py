"""Waiting for many things that threads do: whoever waits is woken when the last one is done, not by each.

A wake-up costs as much as unpacking a frame does. Not for: what is done, nor by whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial


class Stuck(Exception):
    """None of what is left was done for too long."""


class Countdown:
    """Counts down from `left`, by any threads."""

    def __init__(self, left: int, then: Callable[[], None]) -> None:
        """`then` is called before anybody hears of the end, on the thread that counted last."""
        self.left = left
        self.is_over = False
        self._lock = threading.Lock()
        self._then: list[Callable[[], None]] = [then]
        if not left:
            self._end()

    def one_less(self) -> None:
        """One is done, failed or given up."""
        with self._lock:
            self.left -= 1
            is_last = self.left == 0
        if is_last:
            self._end()

    def when_over(self, then: Callable[[], None]) -> None:
        """Have this called on the thread that counts last, or here and now if that was done."""
        with self._lock:
            if not self.is_over:
                self._then.append(then)
                return
        then()

    async def wait(self, timeout_s: float) -> None:
        """Wait until all are done; raises `Stuck` when none was for `timeout_s`.

        A large batch of large images may take long, as long as it gets on.
        """
        if self.is_over:
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.when_over(partial(_tell, over))
        self._look_later(over, timeout_s)
        try:
            await over
        finally:
            self._timer.cancel()

    def _look_later(self, over: asyncio.Future[None], timeout_s: float) -> None:
        self._timer = over.get_loop().call_later(timeout_s, self._look, over, timeout_s, self.left)

    def _look(self, over: asyncio.Future[None], timeout_s: float, left_before: int) -> None:
        if self.left < left_before:
            self._look_later(over, timeout_s)
        elif not over.done():
            over.set_exception(Stuck())

    def _end(self) -> None:
        self._then[0]()
        with self._lock:
            self.is_over = True
            _, *then = self._then
            self._then = []  # whatever these are of may be large, and refer to this
        for one in then:
            one()


def _tell(over: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        over.get_loop().call_soon_threadsafe(_settle, over)


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
