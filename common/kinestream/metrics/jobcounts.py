"""How many jobs there are in each state, for the metrics.

Not for: how one of them goes (see `kinestream.jobs`).
"""

from __future__ import annotations

import time
from collections import Counter
from typing import get_args

from redis.asyncio import Redis

from kinestream.delivery import untyped
from kinestream.jobs.store import OVER, State
from kinestream.keys import Keys

_OVER_S = 60.0
"""Jobs that are over are read that often: thousands are kept, and few of them are retried."""


class JobCounts:
    """Reads the states of all jobs, again and again."""

    def __init__(self, redis: Redis, *, keys: Keys | None = None) -> None:
        self._redis = untyped(redis)
        self._keys = keys or Keys()
        self._over: dict[bytes, str] = {}
        self._over_read_s = float("-inf")

    async def read(self) -> dict[State, int]:
        """Count the jobs that have not expired; every state has its number.

        A job that was over and is retried is counted where it was for up to a minute. What cannot be read is
        left out: another version's, or somebody else's.
        """
        ids: list[bytes] = await self._redis.zrange(self._keys.jobs, 0, -1)
        if time.monotonic() - self._over_read_s >= _OVER_S:
            self._over_read_s = time.monotonic()
            self._over.clear()
        states = {job_id: self._over[job_id] for job_id in ids if job_id in self._over}
        to_read = [job_id for job_id in ids if job_id not in states]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for job_id in to_read:
                pipeline.hget(self._keys.job(job_id.decode(errors="replace")), "state")
            told = await pipeline.execute(raise_on_error=False)
        for job_id, state in zip(to_read, told, strict=True):
            if isinstance(state, bytes):
                states[job_id] = state.decode(errors="replace")
        self._over = {job_id: state for job_id, state in states.items() if state in OVER}
        counts = Counter(states.values())
        return {state: counts[state] for state in get_args(State)}
