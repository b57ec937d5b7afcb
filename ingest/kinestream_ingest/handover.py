"""From the capture thread to the event loop: a few frames, and never a backlog.

A live handover keeps the newest frames and gives up on the oldest; a complete one lets the thread wait.
What is given up on between two frames is told with the later one, since delivery wants the cause of every
gap.

Not for: what frames are, nor what becomes of them on the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Handed(Generic[T]):
    """One frame, and why the frames between it and the one handed over before it were given up on."""

    frame: T
    causes: set[str] = field(default_factory=set)


class Handover(Generic[T]):
    """At most `room` frames. `put`, `give_up` and `end` are for the thread, `get` and `stop` for the loop.

    `newest_wins` makes it a live one; `cause()` then says why a frame finds no room. `given_up` counts what
    was given up on by its cause. Make it in the running event loop.
    """

    def __init__(self, room: int, *, newest_wins: bool, cause: Callable[[], str]) -> None:
        self.given_up: Counter[str] = Counter()
        self._cause = cause
        self._room = room
        self._newest_wins = newest_wins
        self._frames: deque[Handed[T]] = deque()
        self._causes_after: set[str] = set()
        self._ended = self._stopped = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    def put(self, frame: T) -> bool:
        """Hand a frame over, waiting for room unless newest wins; False once the taker has stopped."""
        with self._changed:
            while len(self._frames) >= self._room and not self._stopped and not self._newest_wins:
                self._changed.wait()
            if self._stopped:
                return False
            causes, self._causes_after = self._causes_after, set()
            while len(self._frames) >= self._room:
                oldest = self._frames.popleft()
                later = self._frames[0].causes if self._frames else causes
                cause = self._cause()
                self.given_up[cause] += 1
                later |= oldest.causes | {cause}
            self._frames.append(Handed(frame, causes))
        self._notify()
        return True

    def give_up(self, cause: str) -> None:
        """Tell that the next frame will never be handed over."""
        with self._changed:
            self.given_up[cause] += 1
            self._causes_after.add(cause)

    def end(self, error: Exception | None = None) -> None:
        """Tell that no more frames come; with an error, `get` raises it after the last frame."""
        with self._changed:
            self._ended, self._error = True, error
        self._notify()

    async def get(self) -> Handed[T] | None:
        """Wait for the oldest frame and take it; None after the last one, and at once after `stop`.

        Raises what `end` was given.
        """
        while True:
            with self._changed:
                self._wake.clear()
                if self._stopped:
                    return None
                if self._frames:
                    self._changed.notify()
                    return self._frames.popleft()
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
            await self._wake.wait()

    @property
    def causes_after(self) -> set[str]:
        """Why frames after the last one were given up on."""
        return self._causes_after

    def stop(self) -> None:
        """Take no more; what has been handed over is forgotten, and the thread is told at its next frame."""
        with self._changed:
            self._stopped = True
            self._frames.clear()
            self._changed.notify()
        self._wake.set()

    def _notify(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is there to wake
            self._loop.call_soon_threadsafe(self._wake.set)
