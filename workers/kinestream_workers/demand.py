"""What a worker asks for next: how many frames, when, and how fresh they must be.

Here meet what is in the worker's hands, what batches cost, and the target if there is one; the stages tell
what they did, the reader asks. Not for: the rules themselves (`lookahead.py`, `target.py`), nor for
taking (`reader.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from kinestream.held import Held
from kinestream_workers.costs import Costs
from kinestream_workers.lookahead import Durations, Lookahead
from kinestream_workers.settings import WorkerSettings
from kinestream_workers.target import Decision, Target

MEMORIES = 3
"""One in the session, one filled, and one being filled where the engine is quicker than that."""


class Demand:
    """The demand of one worker; `decision` is what holds just now, `target` None if it was given none."""

    def __init__(
        self,
        settings: WorkerSettings,
        in_hand: Callable[[], int],
        measured_ms: Mapping[int, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`in_hand` tells how many frames it holds, those aside left out; `measured_ms` is of warm-up."""
        self._costs = Costs(measured_ms)
        self._lookahead = Lookahead(self._costs)
        self._commit = Durations()
        self._in_hand = in_hand
        self._clock = clock
        self._waiting = 0  # held, and not through the engine yet
        self._queued = 0  # of these, not with the decoders yet
        self.decision = Decision(settings.max_batch, settings.max_wait_ms)
        self.target: Target | None = None
        if settings.target_p95_ms is not None:
            self.target = Target(
                settings.target_p95_ms,
                self._costs,
                largest=settings.max_batch,
                window_ms=settings.max_wait_ms,
                fixed=settings.batch_is_fixed,
            )

    def decide(self) -> Decision:
        """Look at everything again."""
        if self.target is not None:
            before_ms, after_ms = 1000 * self._lookahead.usual_s, 1000 * self._commit.usual
            self.decision = self.target.decide(before_ms, after_ms, self._clock())
        return self.decision

    def room(self) -> int:
        """Frames that can be taken now: a batch, as long as there is a memory for it or will be by the time
        that it is here, and one more batch that is being committed.
        """
        batch = self.decision.batch
        return min(batch, (MEMORIES + 1) * batch - self._waiting, (MEMORIES + 2) * batch - self._in_hand())

    def take_in_s(self) -> float:
        """Seconds until they should be asked for; 0 is now."""
        return self._lookahead.take_in_s(self._waiting, self._queued, self._clock())

    def spare_in_s(self) -> float:
        """Seconds until what gives way should be asked for, if nothing else has come by then; 0 is now."""
        return self._lookahead.spare_in_s(self._waiting, self._clock())

    def spare(self) -> int:
        """Frames of complete sources that are taken at once while live cameras are at work: those that cost
        hardly more than one, as where a model's batch has a fixed size, or what the target has room for.
        """
        return max(self._costs.as_one(self.decision.batch), self.decision.spare)

    def along(self) -> int:
        """Frames in a batch in which live ones and those of complete sources may be together."""
        may_be = self.target is not None and not self._lookahead.any_in_line(self._waiting)
        return self.decision.spare if may_be else 0

    def took(self, seconds: float) -> None:
        """A take lasted so long."""
        self._lookahead.took(seconds)

    def came(self, frames: int) -> None:
        """So many frames are on their way to the engine."""
        self._waiting += frames
        self._queued += frames

    def went(self, frames: int) -> None:
        """So many of these are not any more: they are through it, or settled without it, or aside."""
        self._waiting -= frames

    def preparing(self, frames: int) -> None:
        """A batch of so many is given to the decoders."""
        self._queued -= frames
        self._lookahead.decoders.begun(frames, self._clock())

    def prepared(self) -> None:
        """The first of those that they have is ready."""
        self._lookahead.prepared(self._clock())

    def begun(self, images: int) -> None:
        """A batch is given to the engine."""
        self._lookahead.engine.begun(images, self._clock())

    def ended(self, worked: tuple[int, float] | None = None) -> None:
        """The engine is done with its first batch: images that it did, and seconds, if known."""
        self._lookahead.engine.ended(self._clock(), worked)

    def committed(self, served_live: Iterable[Held], seconds: float) -> None:
        """A commit lasted so long; these are the live frames in it that became `ok`."""
        self._commit.saw(seconds)
        if self.target is not None:
            now_s = self._clock()
            for held in served_live:
                self.target.saw(held.age_ms(), now_s)
