"""Whether Redis answers, seen from this process: a PING every second, on a connection of its own.

So it tells the same in every process, whatever that is doing, and costs nothing per frame. Not for: waiting
until Redis is back (see `kinestream.redis`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import redis.asyncio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

_PAUSE_S = 1.0
_PATIENCE_S = 2.0
"""A server that needs longer for a PING is no server for live cameras."""

_LATELY_S = 5.0
"""Redis may be away for so long before a process counts as not ready: a restart takes a second or two."""


class RedisProbe:
    """What is known about Redis from here; `keep` finds it out. `collect` is for a registry of metrics."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._answered_s: float | None = None
        self._away_since: float | None = None
        self._away_s = 0.0
        self._outages = 0

    @property
    def missing(self) -> str:
        """What to say if Redis has not answered lately; an empty text if it has."""
        if self._answered_s is None:
            return "Redis has not answered yet"
        ago_s = self._clock() - self._answered_s
        return f"Redis has not answered for {ago_s:.0f} s" if ago_s > _LATELY_S else ""

    async def keep(self) -> None:
        """Ask until cancelled."""
        client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            self._url,
            protocol=2,
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
            retry=Retry(NoBackoff(), 0),
        )
        async with client:
            while True:
                asked_s = self._clock()
                try:
                    await client.ping()
                except (RedisError, OSError):
                    self._note_silence(asked_s)
                else:
                    self._note_answer()
                await asyncio.sleep(_PAUSE_S)

    def _note_answer(self) -> None:
        self._answered_s = self._clock()
        if self._away_since is not None:
            self._away_s += self._answered_s - self._away_since
            self._away_since = None

    def _note_silence(self, asked_s: float) -> None:
        if self._away_since is None:
            self._away_since = asked_s
            self._outages += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called from another thread."""
        since = self._away_since
        away_s = self._away_s + (0.0 if since is None else self._clock() - since)
        up = since is None and self._answered_s is not None
        yield GaugeMetricFamily(
            "kinestream_redis_up", "1 if Redis answered this process's last PING, else 0.", value=float(up)
        )
        yield CounterMetricFamily(
            "kinestream_redis_outages", "How often Redis went away, seen from this process.", self._outages
        )
        yield CounterMetricFamily(
            "kinestream_redis_away_seconds",
            "For how long Redis was away, seen from this process, in all.",
            away_s,
        )
