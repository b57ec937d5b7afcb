"""What this worker measures about itself, and telling it every few seconds.

Not for: what a report is, nor where it lies (see `kinestream.workerreports`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Outcome
from kinestream.histogram import RecentHistogram
from kinestream.redis import reason
from kinestream.workerreports import REPORT_S, STAGES, WorkerReport
from kinestream_workers.demand import Demand
from kinestream_workers.engines import Engine
from kinestream_workers.outcomes import LOAD
from kinestream_workers.totals import Totals

_WINDOW_S = 60.0
"""What is told of the recent past is of the last minute, at least."""

_log = logging.getLogger(__name__)


class Reporter:
    """Counts what a worker commits and reports it; `held` says how many frames are in its hands.

    `totals` is the same since the start, for its metrics.
    """

    def __init__(
        self,
        consumer: GroupConsumer,
        engine: Engine,
        held: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        demand: Demand | None = None,
    ) -> None:
        self._demand = demand
        self.totals = Totals()
        self._consumer = consumer
        self._engine = engine
        self._held = held
        self._clock = clock
        self._stages = {stage: RecentHistogram(_WINDOW_S, clock) for stage in STAGES}
        self._marks = [(clock(), 0, 0, 0.0)]

    def count(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes into account that were just committed."""
        for outcome in outcomes:
            result = outcome.result
            self.totals.add(result)
            if result.status != "ok":
                continue
            for stage, ms in result.timings.items():
                if stage in self._stages:
                    self._stages[stage].add(ms)
            self._stages[STAGES[-1]].add(sum(result.timings.values()))

    def report(self) -> WorkerReport:
        """The report of this moment; call it about every `REPORT_S`."""
        now_s = self._clock()
        totals = self.totals
        committed, inferred, batches = totals.committed, totals.inferred.total(), totals.batches
        self._marks.append((now_s, committed, inferred, batches))
        while len(self._marks) > 2 and self._marks[1][0] <= now_s - _WINDOW_S:
            del self._marks[0]
        since_s, committed_then, inferred_then, batches_then = self._marks[0]
        return WorkerReport(
            name=self._consumer.name,
            model=self._engine.name,
            engine=self._engine.description,
            committed=committed,
            rate=(committed - committed_then) / max(now_s - since_s, REPORT_S),
            batch=(inferred - inferred_then) / max(batches - batches_then, 1e-9),
            held=self._held(),
            stages={stage: histogram.read() for stage, histogram in self._stages.items()},
            **self._steered(),
        )

    def _steered(self) -> dict[str, Any]:
        """The latency target, if there is one, and what follows from it just now."""
        if self._demand is None:
            return {}
        target, decision = self._demand.target, self._demand.decision
        return {
            "target_ms": target.target_ms if target else None,
            "batch_limit": decision.batch,
            "window_ms": decision.window_ms,
            "dropped_load": self.totals.frames["dropped", LOAD],
        }

    async def keep(self) -> None:
        """Report until cancelled; one that cannot be delivered is left out: frames do not depend on it."""
        while True:
            try:
                await self._consumer.report(self.report())
            except (RedisError, OSError) as error:
                _log.debug("no report: %s", reason(error))
            await asyncio.sleep(REPORT_S)
