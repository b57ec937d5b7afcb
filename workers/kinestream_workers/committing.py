"""The last stage of a worker: outcomes are published, a call for all that are there, in the order they came.

Not for: what the outcomes are (see `outcomes.py`), nor for how one is published (`kinestream.groupconsumer`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import compress

from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held, Outcome
from kinestream.logs import about
from kinestream.redis import through_outages
from kinestream_workers.demand import Demand
from kinestream_workers.leases import Leases
from kinestream_workers.reporting import Reporter

_log = logging.getLogger(__name__)


class Committing:
    """Commits for one worker; `committed` counts the frames whose outcome it published."""

    def __init__(self, consumer: GroupConsumer, leases: Leases, reporter: Reporter, demand: Demand) -> None:
        self.committed = 0
        self._consumer = consumer
        self._leases = leases
        self._reporter = reporter
        self._demand = demand
        self._waiting: list[Outcome] = []
        self._over = False
        self._changed = asyncio.Event()

    def put(self, outcomes: Sequence[Outcome]) -> None:
        """Have these committed."""
        self._waiting += outcomes
        self._changed.set()

    def put_with_next(self, outcomes: Sequence[Outcome]) -> None:
        """Have these committed in the same call as what is put next."""
        self._waiting += outcomes

    def no_more(self) -> None:
        """End `run` when all that was put is committed."""
        self._over = True
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Commit until there is no more; raises `RedisUnavailable` when told to stop while Redis is away."""
        while self._waiting or not self._over:
            if not self._over:
                await self._changed.wait()
                self._changed.clear()
            outcomes, self._waiting = self._waiting, []
            if outcomes:
                await self._commit(outcomes, stop)

    async def _commit(self, outcomes: Sequence[Outcome], stop: asyncio.Event) -> None:
        begun_s = time.monotonic()
        commit = partial(self._consumer.commit, outcomes)
        counts = await through_outages(commit, what="committing results", stop=stop)
        self._leases.release(outcome.held for outcome in outcomes)
        self.committed += sum(counts)
        self._reporter.count(compress(outcomes, counts))
        self._demand.committed(self._served_live(outcomes), time.monotonic() - begun_s)
        for outcome in outcomes:
            if outcome.result.status == "failed":
                held, cause = outcome.held, outcome.result.cause
                what = about(held.camera, held.run, held.seq)
                _log.warning("%s %s failed, %s: %s", held.camera, held.id, cause, outcome.error, extra=what)
        if not all(counts):
            _log.info(
                "%d frames were committed by another worker, or are gone with Redis's memory",
                counts.count(False),
            )

    def _served_live(self, outcomes: Sequence[Outcome]) -> Iterator[Held]:
        wishes = self._consumer.wishes
        for outcome in outcomes:
            known = wishes.get(outcome.held.camera)
            if outcome.result.status == "ok" and known is not None and known.lane == "live":
                yield outcome.held
