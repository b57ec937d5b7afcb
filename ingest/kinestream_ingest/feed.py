"""One camera for as long as somebody wants it: what breaks is opened again, and goes on as a new run.

A file is read once. A camera that broke after it was live (unplugged, rebooted, out of reach) has ended its
run with the cause; from then on it is tried again, at growing intervals, until it is back or this process is
told to stop. What it would have sent meanwhile never was: no frame has a number for it, the times tell.
So it is when this process was frozen for so long that its run was ended for it (see `kinestream.abandoned`).

Not for: one connection of it (see `producer.py`), nor a Redis that goes away (see `offering.py`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from redis.asyncio import Redis

from kinestream.delivery import Limits, untyped
from kinestream.errors import Fenced
from kinestream.keys import Keys
from kinestream.logs import about
from kinestream.messages import Lane
from kinestream.redis import through_outages
from kinestream_ingest.encoder import Encoder
from kinestream_ingest.offering import Offering
from kinestream_ingest.opening import Opener
from kinestream_ingest.pacing import Thinning
from kinestream_ingest.producer import Producer, SourceBroke
from kinestream_ingest.retrying import Backoff, open_until
from kinestream_ingest.rhythm import Rhythm
from kinestream_ingest.sources import Source

_log = logging.getLogger(__name__)


class Feed:
    """One camera, connection after connection; make one in a running event loop, then `produce`.

    `seen` and `offered` count all its frames; `offering` and `source` are those of the newest connection.
    `rhythm` is how its pictures come, `error` why the last connection or try failed, `connections` how often
    it has been connected. Another thread that wants numbers which fit each other holds `changing` meanwhile,
    and not for long.
    """

    def __init__(
        self,
        redis: Redis,
        source: Source,
        *,
        camera: str,
        lane: Lane,
        reopen: Callable[[], Source] | Opener | None = None,
        encoder: Encoder | None = None,
        thinning: Thinning | None = None,
        stop: asyncio.Event | None = None,
        keys: Keys | None = None,
        limits: Limits | None = None,
        run_key: str = "",
        priority: int = 0,
        max_age_ms: int | None = None,
        clock_offset_ms: float = 0.0,
    ) -> None:
        """`reopen` opens the source again, in a thread, and raises `SourceError`; None for what is read once.

        `run_key` is for what is read once (see `Producer`).

        Raises `UsageError` for a camera name that is not allowed.
        """
        self.encoder = encoder or Encoder()
        self.rhythm = Rhythm()
        self.error = ""
        self.connections = 1
        self.changing = threading.Lock()
        self._redis = redis
        self._opener = reopen if isinstance(reopen, Opener) or reopen is None else Opener(reopen)
        self._stop = stop or asyncio.Event()
        self._keys = keys or Keys()
        self._produce_from = partial(
            Producer,
            redis,
            camera=camera,
            lane=lane,
            encoder=self.encoder,
            thinning=thinning or Thinning(),
            stop=self._stop,
            keys=self._keys,
            limits=limits,
            priority=priority,
            max_age_ms=max_age_ms,
            rhythm=self.rhythm,
            clock_offset_ms=clock_offset_ms,
        )
        self._producer = self._produce_from(source, run_key=run_key)
        self._seen = self._offered = self._taken = 0
        self._given_up: Counter[str] = Counter()
        self._runs: list[int] = []
        self._away_since: float | None = None
        self._over = False

    @property
    def seen(self) -> int:
        """How many frames the source has given so far, skipped ones included."""
        return self._seen + self._producer.seen

    @property
    def offered(self) -> int:
        """How many frames Redis has acknowledged so far."""
        return self._offered + self._producer.offered

    @property
    def taken(self) -> int:
        """How many frames the source has given so far that were not skipped."""
        return self._taken + self._producer.taken

    @property
    def given_up(self) -> Counter[str]:
        """Frames that were given up on so far, by cause."""
        return self._given_up + self._producer.given_up

    @property
    def away_s(self) -> float:
        """For how long the source has been away by now, in seconds; 0 while it is there."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    @property
    def connected(self) -> bool:
        """Whether the source is open here, and read."""
        return not self._over and self._away_since is None

    @property
    def offering(self) -> Offering:
        return self._producer.offering

    @property
    def source(self) -> Source:
        return self._producer.source

    @property
    def runs(self) -> list[int]:
        """The numbers of its runs so far, oldest first."""
        return self._runs + [run.number for run in self.offering.runs]

    async def produce(self) -> None:
        """Offer the source's frames until it ends, or for ever if it can be opened again, until told to stop.

        Raises what `Producer.produce` raises; `SourceBroke` only if the source is not opened again.
        """
        try:
            await self._produce()
        finally:
            self._over = True

    async def _produce(self) -> None:
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                return await self._producer.produce()
            except SourceBroke as error:
                if self._opener is None:
                    raise
                self.error = str(error)
            except Fenced:
                if self._opener is None or await self._newest_run() > self.runs[-1]:
                    raise
                self.error = f"{self.offering.camera}: the run was ended while this process was not heard of"
            if self._stop.is_set():
                return None
            _log.warning("%s; trying again until it is back", self.error, extra=about(self.offering.camera))
            self._away_since = time.monotonic()
            backoff.held(self._away_since - began)
            source = await self._open_again(self._opener, backoff)
            if source is None:
                return None
            self.connections += 1
            self.rhythm.begin()
            producer = self._produce_from(source, after=self.runs[-1])
            with self.changing:
                self._seen, self._offered, self._runs = self.seen, self.offered, self.runs
                self._taken, self._given_up = self.taken, self.given_up
                self._producer = producer
            # Errors and what raised them hold one another in circles, and a last picture with them, and
            # libav's threads with that. This process allocates so little that Python looks for circles once
            # in hours.
            gc.collect()

    async def _open_again(self, opener: Opener, backoff: Backoff) -> Source | None:
        """Try until the source is open again; None when told to stop. Raises `Fenced`."""
        camera, told = self.offering.camera, ""

        def failed(why: str) -> None:
            nonlocal told
            if why != told:
                _log.warning("%s: still away: %s", camera, why, extra=about(camera))
            told = self.error = why

        source = await open_until(
            opener, backoff, self._stop, before_try=self._check_not_fenced, failed=failed
        )
        if source is not None:
            _log.warning("%s: back after %.1f s", camera, self.away_s, extra=about(camera))
            self._away_since = None
        return source

    async def _check_not_fenced(self) -> None:
        """Raise `Fenced` if somebody else has begun a run of this camera while it was away."""
        camera, last = self.offering.camera, self.runs[-1]
        if await self._newest_run() > last:
            raise Fenced(f"{camera}: run {last} is over, a newer run of this camera has begun elsewhere")

    async def _newest_run(self) -> int:
        camera = self.offering.camera
        stored = await through_outages(
            lambda: untyped(self._redis).hget(self._keys.cameras, camera),
            what=f"looking after {camera}",
            stop=self._stop,
        )
        return int(stored or 0)
