"""A thread that reads a camera, so that the camera is never kept waiting, and never waited for too long.

Encoding takes its time. Whoever reads a camera only when that is done reads ever older pictures: what the
camera sent meanwhile piles up in sockets and drivers, and nobody knows how old it is. Here a picture is taken
when it comes, and of pictures that nobody had time for only the newest are kept.

Not for: files, which wait; nor opening or decoding (see `network.py`, `webcam.py`).
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

from kinestream.errors import SourceError
from kinestream.video import Image
from kinestream_ingest.sources.source import Away, NoPicture, SourceFrame

TIMEOUT_S = 10.0
"""Without a picture a camera counts as gone: more than the keyframe interval of usual cameras, and less than
an operator waits before looking."""

_NEWEST = 2
"""Pictures that are kept where the newest wins: one next, and one because networks deliver in bursts."""

_ROOM = 4
"""Pictures ahead of a taker that wants them all; they are small beside what the camera itself holds."""

_LAST_S = 1.0
"""At the end of the process, for threads to let go of their cameras: a camera that still sends is left within
a frame, one that hangs is not waited for."""

MOST_HANGING = 3
"""Threads of one camera that nobody waits for any more: each holds what it has allocated, for ever."""

_HANGS_S = 5.0
"""After which a thread that was told to end counts as hanging, and not as one that finishes a picture."""

_running: set[ReadAhead] = set()


def hanging(label: str | None = None) -> list[str]:
    """Labels of the threads that were told to end and have not, all of them or those with one label."""
    now = time.monotonic()
    late = [one.label for one in [*_running] if one.closed_s is not None and now - one.closed_s > _HANGS_S]
    return [one for one in late if label is None or one == label]


class ReadAhead:
    """Runs the generator of `read(closed)` in a thread of its own; iterating, once, gives what has come.

    With `newest_wins`, a frame for which nobody had time is given without its picture (`NoPicture`,
    producer-behind); otherwise the generator waits. After `timeout_s` seconds without a frame iterating
    raises `SourceError`, as it does with what the generator raises. The generator is closed in its thread
    after the first frame that comes after `close`; `closed()` tells it to end before.
    """

    def __init__(
        self,
        read: Callable[[Callable[[], bool]], Generator[SourceFrame]],
        *,
        newest_wins: bool = True,
        timeout_s: float = TIMEOUT_S,
        label: str = "",
    ) -> None:
        """`label` tells whose thread it is, for `hanging`; raises `SourceError` if too many of them hang."""
        if label and len(hanging(label)) >= MOST_HANGING:
            raise SourceError(f"{MOST_HANGING} threads that read it have not come back")
        self.label = label
        self._newest_wins = newest_wins
        self._timeout_s = timeout_s
        self._frames: deque[SourceFrame] = deque()
        self._first: SourceFrame | None = None
        self._taking = self._ended = self._closed = False
        self.closed_s: float | None = None
        self._error: Exception | None = None
        self._changed = threading.Condition()
        # A daemon: libav and drivers may hang, and must not keep a process that was told to stop.
        self._thread = threading.Thread(target=self._run, args=(read,), name="camera", daemon=True)
        _running.add(self)
        self._thread.start()

    def first(self) -> SourceFrame:
        """Wait for the first frame and take nothing; raises `SourceError`, and closes, if none comes.

        What the generator raises before its first frame is raised here.
        """
        try:
            with self._changed:
                self._wait()
                if self._first is not None:
                    return self._first
                raise self._error or SourceError("it was closed before its first picture")
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[SourceFrame]:
        with self._changed:
            self._taking, self._first = True, None
        while True:
            with self._changed:
                self._wait()
                if self._closed:
                    return
                if not self._frames:
                    if self._error is not None:
                        raise self._error
                    return
                frame = self._frames.popleft()
                self._changed.notify_all()
            yield frame

    def close(self) -> None:
        """End the iteration at once, and the thread as soon as it looks."""
        with self._changed:
            self._closed = True
            self.closed_s = self.closed_s or time.monotonic()
            self._frames.clear()
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has let go of the camera."""
        self._thread.join(timeout_s)

    def _wait(self) -> None:
        """Wait for a frame or an end; hold `_changed`."""
        if not self._changed.wait_for(lambda: self._frames or self._ended or self._closed, self._timeout_s):
            raise Away(f"no picture came for {self._timeout_s:g} s")

    def _run(self, read: Callable[[Callable[[], bool]], Generator[SourceFrame]]) -> None:
        error: Exception | None = None
        frames = read(lambda: self._closed)
        try:
            for frame in frames:
                if not self._put(frame):
                    break
        except SourceError as failure:
            # A new one: the traceback of the other is a circle through this frame, and so would keep a
            # connection with its decoder, and the threads of that, until Python looks for circles.
            error = type(failure)(str(failure))
        except Exception as failure:  # it is the taker's to deal with
            error = failure
        finally:
            frames.close()
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()
            _running.discard(self)

    def _put(self, frame: SourceFrame) -> bool:
        with self._changed:
            if self._first is None and not self._taking:
                self._first = frame
            if self._newest_wins:
                self._make_room()
            while not self._newest_wins and len(self._frames) >= _ROOM and not self._closed:
                self._changed.wait()
            if not self._closed:
                self._frames.append(frame)
                self._changed.notify_all()
            return not self._closed

    def _make_room(self) -> None:
        """Let the oldest frame give way if there are enough; hold `_changed`."""
        if len(self._frames) < _NEWEST:
            return
        if self._taking:  # the oldest that has not given way: those before it have
            self._frames[-_NEWEST] = replace(self._frames[-_NEWEST], picture=_gave_way)
        else:  # what came before anybody took frames belongs to no run
            self._frames.popleft()


@atexit.register
def _let_go() -> None:
    """End the threads before the interpreter does: libav may crash in one that is stopped midway."""
    until = time.monotonic() + _LAST_S
    threads = [*_running]
    for one in threads:
        one.close()
    for one in threads:
        one.join(max(0.0, until - time.monotonic()))


def _gave_way(label: str) -> Image:
    raise NoPicture("producer-behind")
