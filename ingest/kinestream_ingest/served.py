"""One wanted camera, served by this process for as long as it is told to, whatever happens to it.

It is opened, and opened again, for ever; what one camera does never ends the process, since others are read
in it. A recording is read to its end once.

Not for: which cameras these are (see `service.py`), nor what happens while it is connected (`feed.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import CameraState
from kinestream.delivery import Limits, untyped
from kinestream.errors import Fenced, KinestreamError, RedisUnavailable, UsageError
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.logs import about
from kinestream.redis import through_outages
from kinestream.region import parse_region
from kinestream_ingest.encoder import QUALITY, Encoder
from kinestream_ingest.feed import Feed
from kinestream_ingest.framing import Framing
from kinestream_ingest.opening import Opener
from kinestream_ingest.pacing import Thinning, pace_of
from kinestream_ingest.producer import SourceBroke
from kinestream_ingest.retrying import Backoff, open_until, paused
from kinestream_ingest.sources import TIMEOUT_S, Source, open_source
from kinestream_ingest.sources.video_file import VideoFileSource
from kinestream_ingest.telling import state_of
from kinestream_ingest.watched import LOOK_S, WatchedFolder, is_folder

_PATIENCE_S = 20.0
"""Beyond the time in which a camera must send its first picture, for a driver or libav to come back: then the
try is left alone. Looking for a name and a TLS handshake count as well."""

_LOOK_AGAIN_S = 3.0
"""Between two looks at a camera that another process produces, though this one is to serve it."""

_log = logging.getLogger(__name__)


class Served:
    """Serves `spec` in a task of its own, from `start` on, until `stop` is set.

    `finished` says that a recording has been read to its end, with `outcome` if it broke.
    """

    def __init__(
        self,
        redis: Redis,
        spec: CameraSpec,
        *,
        producer: str,
        keys: Keys,
        limits: Limits | None = None,
        open_it: Callable[[], Source] | None = None,
    ) -> None:
        """`open_it` is for tests; else the spec's source is opened."""
        self.spec = spec
        self.stop = asyncio.Event()
        self.finished = False
        self.outcome = ""
        self.feed: Feed | None = None
        self._redis = redis
        self._producer = producer
        self._keys = keys
        self._limits = limits
        self._error = ""
        self._waiting = False
        self._reading = False
        timeout_s = spec.timeout_s or TIMEOUT_S
        pace = pace_of(spec.lane, spec.realtime)
        self._opener = Opener(
            open_it or partial(open_source, spec.source, pace=pace, timeout_s=timeout_s),
            timeout_s + _PATIENCE_S,
        )
        region = None if spec.region is None else parse_region(spec.region)
        self._encoder = Encoder(
            quality=QUALITY if spec.quality is None else spec.quality,
            max_side=spec.max_side,
            framing=Framing(region, rotate=spec.rotate),
        )
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve it."""
        self.task = asyncio.create_task(self._serve(), name=f"camera {self.spec.name}")

    @property
    def ended(self) -> bool:
        """Whether nothing of it is left here."""
        return self.task is not None and self.task.done()

    def state(self) -> CameraState:
        """How it is now."""
        if self.finished:
            run = self.feed.runs[-1] if self.feed is not None and self.feed.runs else None
            return CameraState(
                camera=self.spec.name, state="finished", producer=self._producer, run=run, error=self.outcome
            )
        if self._waiting:
            return CameraState(
                camera=self.spec.name,
                state="waiting",
                producer=self._producer,
                run=self.feed.runs[-1] if self.feed is not None and self.feed.runs else None,
                error=self._error or self.outcome,
                source=self.spec.source,
            )
        if self._reading and self.feed is not None:
            return state_of(self.feed, self._producer)
        return CameraState(
            camera=self.spec.name,
            state="offline" if self._error else "connecting",
            producer=self._producer,
            run=self.feed.runs[-1] if self.feed is not None and self.feed.runs else None,
            error=self._error,
            frame_ago_s=None if self.feed is None else self.feed.rhythm.ago_s,
        )

    async def _serve(self) -> None:
        backoff = Backoff()
        while not self.stop.is_set() and not self.finished:
            try:
                if is_folder(self.spec.source):
                    await self._watch()
                    return
                source = await open_until(self._opener, backoff, self.stop, failed=self._failed, at_once=True)
                if source is None:
                    return
                await self._read(source)
                self.finished = not self.stop.is_set()
            except Fenced as error:
                with contextlib.suppress(RedisUnavailable):  # told to stop while it is away
                    await self._wait_for_the_other(str(error))
            except KinestreamError as error:
                self._failed(str(error))
                await paused(backoff.pause_s(), self.stop)
            except Exception as error:
                _log.exception("%s: this is a bug", self.spec.name, extra=about(self.spec.name))
                self._failed(f"{type(error).__name__}: {error}")
                await paused(backoff.pause_s(), self.stop)

    async def _read(self, source: Source) -> None:
        """Read what is open to its end, connection after connection if it is a camera."""
        spec = self.spec
        try:
            self._encoder.check(source)
        except UsageError:
            source.close()
            raise
        returns = source.returns and spec.reconnect is not False
        self.feed = Feed(
            self._redis,
            source,
            camera=spec.name,
            lane=spec.lane or ("live" if source.live else "every-frame"),
            reopen=self._opener if returns else None,
            encoder=self._encoder,
            thinning=Thinning(every=spec.every, max_fps=spec.max_fps),
            stop=self.stop,
            keys=self._keys,
            limits=self._limits,
            clock_offset_ms=spec.clock_offset_ms,
            priority=spec.priority,
            max_age_ms=spec.max_age_ms,
        )
        self._error = ""
        self._reading = True
        try:
            await self.feed.produce()
        except SourceBroke as error:  # it is not opened again
            self.outcome = str(error)
        finally:
            self._reading = False

    async def _watch(self) -> None:
        """Read the videos of a folder, one after another, as they come."""
        spec = self.spec
        folder = WatchedFolder(self._redis, self._keys, spec.name, spec.source)
        while not self.stop.is_set():
            video = await folder.next(self.stop)
            self._waiting = video is None
            if video is None:
                await paused(LOOK_S, self.stop)
                continue
            open_it = partial(
                VideoFileSource, str(video.path), pace_of(spec.lane, spec.realtime) or "unpaced"
            )
            try:
                source = await Opener(open_it).opened(self.stop)
                if source is not None:
                    await self._read(source)
            except UsageError as error:  # it is no video, or has no such region
                self._failed(str(error))
            if not self.stop.is_set():
                await folder.note_done(video, self.stop)

    def _failed(self, why: str) -> None:
        if why != self._error:
            _log.warning("%s: away: %s", self.spec.name, why, extra=about(self.spec.name))
        self._error = why

    async def _wait_for_the_other(self, why: str) -> None:
        """Let whoever has begun a newer run have the camera until that run is over.

        A run of ours that was ended while this process was frozen is no reason to wait.
        """
        ours = self.feed.runs[-1] if self.feed is not None and self.feed.runs else 0
        while not self.stop.is_set():
            newest = await through_outages(
                self._newest_open_run, what="looking after a camera", stop=self.stop
            )
            if newest is None or newest <= ours:
                self._error = ""
                return
            self._failed(why)
            await paused(_LOOK_AGAIN_S, self.stop)

    async def _newest_open_run(self) -> int | None:
        run = int(await untyped(self._redis).hget(self._keys.cameras, self.spec.name) or 0)
        ledger = await read_ledger(self._redis, self.spec.name, run, keys=self._keys)
        return None if ledger is None or ledger.state == "ended" else run
