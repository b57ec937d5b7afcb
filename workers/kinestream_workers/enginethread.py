"""The engine's own thread: it does one call after another, and whoever waits learns when it hangs.

Not for: what is called (see `inference.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from kinestream_workers.countdown import Countdown
from kinestream_workers.engines.engine import EngineHangs


class _Call:
    """Something for the thread to do."""

    def __init__(self, do: Callable[[], Any], what: str, done: asyncio.Future[Any]) -> None:
        self.do = do
        self.what = what
        self.done = done


class EngineThread:
    """A daemon thread: if the engine hangs, the process can still end."""

    def __init__(self, timeout_s: float) -> None:
        """Being at one thing for longer than `timeout_s` is hanging."""
        self._timeout_s = timeout_s
        self._doing: tuple[str, float] | None = None  # what the thread is at, and since when
        self._hangs = False
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._in_turn: deque[tuple[Countdown, _Call]] = deque()
        self._turns = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    def call(self, do: Callable[[], Any], what: str, after: Countdown | None = None) -> asyncio.Future[Any]:
        """What this gives or raises on the thread; `EngineHangs` if it does not end in time.

        With `after`, its turn comes when that is over, and not before earlier calls of the kind. The event
        loop is not asked for it: waking that up takes longer than some pictures do.
        """
        call = _Call(do, what, asyncio.get_running_loop().create_future())
        self._look_in(self._timeout_s, call)
        if after is None:
            self._calls.put(call)
        else:
            with self._turns:
                self._in_turn.append((after, call))
            after.when_over(self._pass_on)
        return call.done

    def is_at(self, what: str) -> None:
        """Tell, on the thread, what it is at from now on."""
        self._doing = what, time.monotonic()

    def _pass_on(self) -> None:
        with self._turns:
            while self._in_turn and self._in_turn[0][0].is_over:
                self._calls.put(self._in_turn.popleft()[1])

    def _look_in(self, seconds: float, call: _Call) -> None:
        timer = call.done.get_loop().call_later(seconds, self._look, call)
        call.done.add_done_callback(lambda _: timer.cancel())

    def _look(self, call: _Call) -> None:
        """Give up if the thread is at one thing for too long, this one or one that it waits for."""
        what, since_s = self._doing or (call.what, time.monotonic())
        left_s = since_s + self._timeout_s - time.monotonic()
        if call.done.done():
            return
        if left_s > 0:
            self._look_in(left_s, call)
            return
        self._hangs = True
        what = f"the engine is at {what} for over {self._timeout_s:g} s: giving up"
        _settle(call.done, None, EngineHangs(what))

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            self._do(call)
            del call  # a large picture has 150 MB, and the next call may be a while

    def _do(self, call: _Call) -> None:
        self.is_at(call.what)
        try:
            result, error = call.do(), None
        except Exception as raised:
            result, error = None, raised
        self._doing = None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker gave up on this engine
            call.done.get_loop().call_soon_threadsafe(_settle, call.done, result, error)

    async def close(self) -> None:
        """Wait until the engine has returned, so that it may be closed, and end the thread.

        One that is known to hang is not waited for; raises `EngineHangs` for one that turns out to.
        """
        if not self._hangs:
            await self.call(lambda: None, "its last batch")
        self._calls.put(None)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
        done.exception()  # one that is waited for ends the worker; asyncio need not tell of the others
