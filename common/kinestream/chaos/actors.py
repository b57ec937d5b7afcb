"""The processes of a run: commands that a user could type, each started again when it was killed.

An actor is one place in the pipeline (worker-1, the producer of one camera), played by one process after
another; each has a log of its own. Not for: whom to hit when (see `faults.py`), nor for network cameras
(`camera.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kinestream.errors import KinestreamError
from kinestream.processes import Child, start_child

READY_S = 60.0
"""From the start of a process to the line that says it works: a second or two; a busy machine gets time."""

_LOOK_S = 0.02

_STILLBORN = 20
"""Starts in a row that may fail, since Redis or the camera is away at that moment: half a minute of them."""


class Actor:
    """One place in the pipeline.

    `words(generation)` are the arguments of its command, `ready` is what the process says once it works, and
    `role` the kind of process that its memory is counted under. Call `start` in the main thread.
    """

    def __init__(
        self,
        name: str,
        role: str,
        words: Callable[[int], Sequence[str]],
        *,
        ready: str,
        folder: Path,
        environment: Mapping[str, str],
        say: Callable[[str], object],
    ) -> None:
        self.name = name
        self.role = role
        self.generation = 0
        self.processes: list[Process] = []
        self.absent = False  # killed, or told to end: nobody shall start another one meanwhile
        self._words = words
        self._ready = ready
        self._folder = folder
        self._environment = environment
        self._say = say
        self._stillborn = 0
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process that plays it now, or did last."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child

    @property
    def log(self) -> Path:
        """What that process has said."""
        return self._folder / f"{self.name}.{self.generation}.log"

    @property
    def is_ready(self) -> bool:
        """Whether that process has said that it works."""
        return self._ready in self.log.read_text(errors="replace")

    def start(self) -> None:
        """Start the next process; its line is shown the first time."""
        self.generation += 1
        self.absent = False
        say = self._say if self.generation == 1 else _nothing
        words = self._words(self.generation)
        self._child = start_child(words, name=self.name, say=say, environment=self._environment, log=self.log)
        self.processes.append(identify(self._child.pid))

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        if self.child.exit_code is None:
            os.kill(self.child.pid, number)

    def look_after(self) -> str | None:
        """Start it again if it ended by itself; return what is wrong with that, if something is.

        A process that never came to work, and says why in its one line, found Redis or its camera away: a
        supervisor would start it again as well.
        """
        code = self.child.exit_code
        if self.absent or code is None:
            return None
        last_line = self.last_line
        was_ready = self.is_ready
        self._stillborn = 0 if was_ready else self._stillborn + 1
        self.start()
        explained = code in (1, 2) and last_line.startswith("kinestream ")
        if not was_ready and explained and self._stillborn <= _STILLBORN:
            return None
        return f"{self.name} ended by itself with exit code {code}: {last_line}"

    async def until_ready(self, *, first_try: bool = False) -> None:
        """Wait for the process, or the one after it, to work; raises `KinestreamError` after `READY_S`.

        With `first_try` it raises at once if the process ends: nobody starts another one yet.
        """

        def works() -> bool:
            if first_try and self.child.exit_code is not None and not self.is_ready:
                raise KinestreamError(f"{self.name} does not come up: {self.last_line}")
            return self.is_ready

        await until(works, READY_S, f"{self.name} to work: {self.log}")

    @property
    def last_line(self) -> str:
        """The last words of the process."""
        return (self.log.read_text(errors="replace").splitlines() or [""])[-1]


async def until(holds: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait until something holds; raises `KinestreamError` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise KinestreamError(f"waited {timeout_s:g} s in vain for {what}")
        await asyncio.sleep(_LOOK_S)


class Process(NamedTuple):
    """One process for ever: ids are used again, not with the same start (ticks since boot; 0 is unknown)."""

    pid: int
    started: int


def identify(pid: int) -> Process:
    """Tell a process that runs from those that will have its id later."""
    return Process(pid, int((_stat(pid) or [""] * 20)[19] or 0))


def is_alive(process: Process) -> bool:
    """Whether a process runs; one that has ended and was not asked how (a zombie) does not."""
    if sys.platform == "linux":
        stat = _stat(process.pid)
        return stat is not None and stat[0] != "Z" and int(stat[19]) == process.started
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (state); None if there is no such process, or file."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


def resident_bytes(pid: int) -> int:
    """The memory that a process has in RAM; 0 if it has ended, or the system does not say (not Linux)."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _nothing(line: str) -> None:
    """Say nothing: the same line was shown before."""
