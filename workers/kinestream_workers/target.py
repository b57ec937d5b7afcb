"""How a worker meets a latency target: the size of its batches, and which live frames it is too late for.

A live frame that comes just after a take waits for the batch in the engine, then for its own: two batches,
and what taking, decoding and committing add. So a batch may be as large as two of them fit into the target,
and larger batches are what makes most engines do more. If more comes than even these batches can do, frames
queue until the oldest are too late to make it; those are dropped before they are decoded, with the cause
`load`, and what is served stays within the target. A part of the target is kept for what nobody foresees,
and grows while live frames turn out later than they should.

There is no window: while the engine is busy, the frames for the next batch gather by themselves, and an idle
engine that waits only loses time. Pure: it is told costs, latencies and the time. Not for: who is
served (see `kinestream.turns`), nor when (see `lookahead.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from kinestream_workers.costs import Costs

LARGEST = 32
"""Images of a batch that the target may choose at most: of 640 x 640 pixels, three memories take 472 MB."""

_SHARE, _LEAST_SHARE = 0.8, 0.3
"""Of the target that is planned for: at first and at most, and at least."""

_LEAST_WAIT = 1.1
"""Batches: a frame that comes while one is inferred must be allowed to wait for it, and a little more."""

_LESS, _MORE = 0.9, 1.02
"""Per look: down at once where frames were late, up slowly where they were early, as networks do it."""

_LOOK_S, _REMEMBERED_S = 0.25, 1.0
"""Between two looks at the latencies of the last second."""

_FEW = 20
"""Fewer latencies say nothing about their p95."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Frames in a batch at most, how long an idle engine waits for more, and the age in milliseconds, since
    it was offered, at which a live frame is too late to be taken; None is never. `spare` is how many frames
    of uploads are taken at once while live cameras are at work, live ones in the same batch included.
    """

    batch: int
    window_ms: float
    late_ms: float | None = None
    spare: int = 1


class Target:
    """Steers towards p95 of `target_ms` for live frames, from offer to commit."""

    def __init__(
        self, target_ms: float, costs: Costs, *, largest: int, window_ms: float = 0.0, fixed: bool = False
    ) -> None:
        """Batches have at most `largest` images; exactly so many may be in one, if `fixed`."""
        self.target_ms = target_ms
        self._costs = costs
        self._largest = largest
        self._window_ms = window_ms
        self._fixed = fixed
        self._batch_share = self._late_share = _SHARE
        self._at_least = False
        self._latencies: deque[tuple[float, float]] = deque()
        self._looked_s = float("-inf")

    def saw(self, latency_ms: float, now_s: float) -> None:
        """A live frame was committed, so long after it had been offered."""
        self._latencies.append((now_s, latency_ms))
        while self._latencies[0][0] < now_s - _REMEMBERED_S:
            self._latencies.popleft()

    def decide(self, before_ms: float, after_ms: float, now_s: float) -> Decision:
        """What to do now, if taking and decoding a frame usually need `before_ms`, committing it
        `after_ms`.
        """
        self._look(now_s)
        around_ms = before_ms + after_ms
        batch = self._largest if self._fixed else self._batch(self._batch_share * self.target_ms - around_ms)
        batch_ms = self._costs.ms(batch)
        if not batch_ms:  # nothing is known of this engine yet
            return Decision(batch, self._window_ms)
        late_ms = self._late_share * self.target_ms - around_ms - batch_ms
        # With less than what a frame has to wait for anyway, next to none would be served.
        least_ms = _LEAST_WAIT * batch_ms + before_ms
        self._at_least = late_ms <= least_ms
        late_ms = max(late_ms, least_ms)
        # A live frame may have to wait for them, and then for another live frame.
        spare = min(batch, self._batch(late_ms))
        return Decision(batch, self._window_ms, late_ms, spare)

    def _batch(self, planned_ms: float) -> int:
        least, most = 1, self._largest
        while least < most:  # the largest of which two fit; costs only grow with the size
            middle = (least + most + 1) // 2
            if 2 * self._costs.ms(middle) <= planned_ms:
                least = middle
            else:
                most = middle - 1
        return least

    def _look(self, now_s: float) -> None:
        """Plan with less where frames turned out late: first of their wait, then of the size of batches."""
        if now_s - self._looked_s < _LOOK_S or len(self._latencies) < _FEW:
            return
        self._looked_s = now_s
        by_size = sorted(ms for _, ms in self._latencies)
        p95_ms = by_size[int(0.95 * len(by_size))]
        if p95_ms > 0.95 * self.target_ms:
            self._latencies.clear()  # what was decided by now must not be judged by what came before
            if self._at_least:
                self._batch_share = max(_LEAST_SHARE, self._batch_share * _LESS)
            else:
                self._late_share = max(_LEAST_SHARE, self._late_share * _LESS)
        elif p95_ms < 0.85 * self.target_ms:
            self._batch_share = min(_SHARE, self._batch_share * _MORE)
            self._late_share = min(_SHARE, self._late_share * _MORE)
