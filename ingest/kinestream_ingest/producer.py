"""One source becomes one camera: captured and encoded in a thread, offered on the event loop.

Between the two stands a handover of a few frames. A slow Redis or a slow loop never builds a backlog: a live
camera's newest frames win and the others are given up on, `producer-behind` or `redis-away`; a complete
source waits. A picture that cannot be read or encoded is given up on, `undecodable`, `encoder-failed`. All of
these have numbers in the run, and the ledger knows them by their causes.

Not for: a camera that comes back (`feed.py`), reading and encoding (`capture.py`), getting frames into Redis
(`offering.py`), showing it (`progress.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from datetime import UTC, datetime

from redis.asyncio import Redis

from kinestream.delivery import Limits
from kinestream.errors import KinestreamError, MessageError, SourceError
from kinestream.keys import Keys
from kinestream.messages import Lane
from kinestream_ingest.capture import Capture, Captured
from kinestream_ingest.encoder import EncodeError, Encoder
from kinestream_ingest.handover import Handed, Handover
from kinestream_ingest.offering import REDIS_FULL, Offering
from kinestream_ingest.pacing import Thinning
from kinestream_ingest.rhythm import Rhythm
from kinestream_ingest.sources import Source

_LIVE_ROOM = 2
"""Encoded frames of a live camera between thread and loop: one next, and one for jitter; more is only age."""

_EVERY_FRAME_ROOM = 8
"""Encoded frames of a complete source: the thread goes on while a frame waits for room in the stream."""

_JOIN_S = 5.0
"""For the thread to finish its frame; a decoder that hangs is left to the end of the process."""


class SourceBroke(KinestreamError):
    """The source broke after it had been read for a while; its run has ended with that cause."""


class Producer:
    """Produces one camera from one source; make one in a running event loop, then `produce`.

    `offering` knows the runs and how it goes. Raises `UsageError` for a camera name that is not allowed.
    """

    def __init__(
        self,
        redis: Redis,
        source: Source,
        *,
        camera: str,
        lane: Lane,
        encoder: Encoder | None = None,
        thinning: Thinning | None = None,
        stop: asyncio.Event | None = None,
        keys: Keys | None = None,
        limits: Limits | None = None,
        after: int = 0,
        run_key: str = "",
        priority: int = 0,
        max_age_ms: int | None = None,
        rhythm: Rhythm | None = None,
        clock_offset_ms: float = 0.0,
    ) -> None:
        """`after` is the number of the run before, if this is its camera again; others as for `Run.begin`.

        `run_key` is for a recording: its open run that was begun with the same key goes on where it stands.
        `rhythm` is told of every picture.
        """
        self.source = source
        self._after = after
        self._stop = stop or asyncio.Event()
        self.offering = Offering(
            redis,
            camera,
            lane=lane,
            source=source.description,
            stop=self._stop,
            keys=keys,
            limits=limits,
            run_key=run_key,
            priority=priority,
            max_age_ms=max_age_ms,
        )
        live = lane == "live"
        self._handover = Handover[Captured](
            _LIVE_ROOM if live else _EVERY_FRAME_ROOM, newest_wins=live, cause=self._behind
        )
        self._encoder = encoder or Encoder()
        self._capture = Capture(
            source,
            self._handover,
            encoder=self._encoder,
            thinning=thinning or Thinning(),
            label=self._label,
            rhythm=rhythm,
            clock_offset_ms=clock_offset_ms,
        )
        self._failure: Exception | None = None
        self._cause = ""

    @property
    def seen(self) -> int:
        """How many frames the source has given so far, skipped ones included."""
        return self._capture.seen

    @property
    def offered(self) -> int:
        """How many frames Redis has acknowledged so far."""
        return self.offering.offered

    @property
    def taken(self) -> int:
        """How many frames the source has given so far that were not skipped."""
        return self._capture.taken

    @property
    def given_up(self) -> Counter[str]:
        """Frames that were given up on so far, by cause."""
        refused = Counter({REDIS_FULL: self.offering.refused})
        return Counter(dict(self._handover.given_up)) + refused

    @property
    def away_s(self) -> float:
        """For how long its source has been away: never, since it has only one."""
        return 0.0

    async def produce(self) -> None:
        """Offer the source's frames until it ends or the `stop` given is set, and end the run.

        Raises `SourceBroke` when the source broke, and `MessageError` when what it gives is no frame (the run
        has ended with that cause), `Fenced` when somebody else produces this camera now, `RedisUnavailable`
        when told to stop while Redis is away.
        """
        try:
            await self._encode_repeats()
            if self._stop.is_set():  # a run that nobody wants any more would end that of another producer
                return
            await self.offering.begin(self._after)
            stopping = asyncio.ensure_future(self._stop.wait())
            stopping.add_done_callback(lambda _: self._capture.close())
            try:
                self._capture.start(done=self.offering.run.produced, began_us=await self.offering.began_us())
                while not self._stop.is_set() and (handed := await self._next()):
                    await self.offering.offer(handed.frame, handed.causes)
            except MessageError as error:  # what the source gives is no frame: its run ends with the reason
                self._failure = error
                self._cause = f"source-failed: {error}"
            finally:
                stopping.cancel()
            await self._finish()
        finally:
            self._capture.close()
            await asyncio.to_thread(self._capture.join, _JOIN_S)
        if self._failure is not None:
            raise self._failure

    async def _encode_repeats(self) -> None:
        for frame in self.source.repeats():
            if self._encoder.full or self._stop.is_set():
                break
            with contextlib.suppress(EncodeError):  # it will come again, and then be accounted for
                await asyncio.to_thread(self._encoder.encode, frame, self.offering.camera)

    async def _next(self) -> Handed[Captured] | None:
        """The next frame; None at the end, with `_failure` set if it came too early."""
        try:
            return await self._handover.get()
        except SourceError as error:
            self._failure = SourceBroke(f"{self.offering.camera}: the source ended early: {error}")
            self._cause = f"source-failed: {error}"
        except Exception as bug:  # in the thread; the run is ended before it is shown
            self._failure = bug
            self._cause = f"source-failed: {type(bug).__name__}: {bug}"
        return None

    async def _finish(self) -> None:
        if self._stop.is_set():
            await self.offering.finish_stopped()
        else:
            await self.offering.finish(
                taken=self._capture.taken, causes=self._handover.causes_after, cause=self._cause
            )

    def _behind(self) -> str:
        """Why a live frame finds no room in the handover just now."""
        return "redis-away" if self.offering.away else "producer-behind"

    def _label(self, index: int, captured_us: int) -> str:
        """What a test card writes into its picture."""
        clock = datetime.fromtimestamp(captured_us / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3]
        run = self.offering.run.number
        return f"{self.offering.camera}  run {run}  seq {self.offering.seq(index)}  {clock} UTC"
