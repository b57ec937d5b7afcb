"""Waiting for many calls on threads at once: the event loop is woken when the last one is done, not by each.

A wake-up costs as much as unpacking a frame does. Not for: what is called, nor where.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any


class Stuck(Exception):
    """None of the calls that are left has ended for too long."""


class Countdown:
    """Counts futures of threads down; make it on the event loop that will wait."""

    def __init__(self, futures: Collection[Future[Any]]) -> None:
        self.left = len(futures)
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        if not futures:
            self._over.set_result(None)
        for future in futures:
            future.add_done_callback(self._one_less)

    async def wait(self, timeout_s: float) -> None:
        """Wait until all are done, failed or cancelled; raises `Stuck` when none ended for `timeout_s`.

        A large batch of large images may take long, as long as it gets on.
        """
        self._look_later(timeout_s)
        try:
            await self._over
        finally:
            self._timer.cancel()

    def _look_later(self, timeout_s: float) -> None:
        self._timer = self._loop.call_later(timeout_s, self._look, timeout_s, self.left)

    def _look(self, timeout_s: float, left_before: int) -> None:
        if self.left < left_before:
            self._look_later(timeout_s)
        elif not self._over.done():
            self._over.set_exception(Stuck())

    def _one_less(self, _: Future[Any]) -> None:
        with self._lock:
            self.left -= 1
            is_last = self.left == 0
        if is_last:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)
