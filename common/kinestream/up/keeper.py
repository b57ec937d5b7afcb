"""Processes that are kept alive for as long as somebody wants them: started again for ever, ended in order.

Unlike a `Crew`, whose command has an end and a result, a keeper never gives up on a part that has once run.
Not for: what the parts are (see `parts.py`), nor one child's life (`kinestream.processes`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence

from kinestream.errors import UsageError
from kinestream.processes import GRACE_S, Child
from kinestream.up.parts import Kind, Part

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""Between two starts of a part that ends again and again; a machine short of memory must not be kept busy by
it.
"""

STEADY_S = 60.0
"""A part that ran for so long was well: when it ends, the pauses begin anew."""

LOOK_S = 0.2

Start = Callable[[Sequence[str], str], Child]

_log = logging.getLogger(__name__)


class Pauses:
    """How long to wait before the next start: doubled from one to the next, with jitter."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def next_s(self, ran_s: float) -> float:
        """Seconds to wait, for something that ran for `ran_s`."""
        longest_s = FIRST_PAUSE_S if ran_s >= STEADY_S else self._next_s
        self._next_s = min(2 * longest_s, LONGEST_PAUSE_S)
        return random.uniform(0.5, 1) * longest_s


class Kept:
    """One part: the child that runs, or when it is started again."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.child: Child | None = None
        self.starts = 0
        self.due_s = 0.0
        self.done = False
        self.began_s = 0.0
        self.pauses = Pauses()


class Keeper:
    """Keeps parts alive; `start(words, name)` starts one, in the main thread. `say` is for the user."""

    def __init__(
        self, start: Start, say: Callable[[str], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.kept: list[Kept] = []
        self._start = start
        self._say = say
        self._clock = clock

    def add(self, parts: Iterable[Part]) -> None:
        """Start these parts, and keep them alive from now on."""
        for part in parts:
            self.kept.append(Kept(part))
            self._begin(self.kept[-1])

    def look(self) -> None:
        """Start again what has ended and is due.

        Raises `UsageError` if a part refused its arguments when it was started for the first time, which it
        has explained itself: trying again would mend nothing.
        """
        for kept in self.kept:
            if kept.done:
                continue
            if kept.child is None:
                if self._clock() >= kept.due_s:
                    self._begin(kept)
            elif (code := kept.child.exit_code) is not None:
                self._ended(kept, kept.child, code)

    def _begin(self, kept: Kept) -> None:
        kept.child = self._start(kept.part.words(), kept.part.name)
        kept.began_s = self._clock()
        kept.starts += 1

    def _ended(self, kept: Kept, child: Child, code: int) -> None:
        child.wait()  # for its last lines
        kept.child = None
        name = kept.part.name
        if code == 0 and kept.part.ends:
            kept.done = True
            self._say(f"{name} is done")
            return
        if code == 2 and kept.starts == 1:
            raise UsageError(f"{name} could not be started (see its line above)")
        pause_s = kept.pauses.next_s(self._clock() - kept.began_s)
        kept.due_s = self._clock() + pause_s
        self._say(f"{name} ended {how_it_ended(code)}, and is started again in {pause_s:.1f} s")

    async def end(self, kind: Kind) -> None:
        """Ask all parts of a kind to drain and end, and wait for them; kill what does not."""
        kept = [one for one in self.kept if one.part.kind == kind]
        for one in kept:
            one.done = True
        children = [one.child for one in kept if one.child is not None]
        for child in children:
            child.terminate()
        until_s = self._clock() + GRACE_S
        while any(child.exit_code is None for child in children) and self._clock() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S / 4)
        for one in kept:
            self._let_go(one)

    def kill(self) -> None:
        """End at once whatever still runs."""
        for kept in self.kept:
            self._let_go(kept)

    def _let_go(self, kept: Kept) -> None:
        child, kept.child, kept.done = kept.child, None, True
        if child is None:
            return
        if child.exit_code is None:
            _log.warning("%s does not end and is killed", kept.part.name)
            child.kill()
        child.wait()  # for its last lines


def how_it_ended(code: int) -> str:
    """In words."""
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"
