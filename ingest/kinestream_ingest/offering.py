"""Frames of one camera into Redis, come what may: outages, want of memory, lost runs.

What may go wrong, and what then:

Redis away             wait and offer the same frame again, since its first try may have arrived
stream full            every-frame: wait for room; a live stream makes room itself
no memory left         live: the frame is given up on, `redis-full`; every-frame: wait, as for room
Redis lost its memory  the run ends with what is lost, and a new one goes on with the frame at hand; a run
                       that has a key is not replaced: `RunLost` propagates
a newer run            somebody else produces this camera now: `Fenced` propagates
told to stop           what is not acknowledged has never been a part of the run

Not for: where frames come from and why some never come (see `producer.py`); one step of it (see
`kinestream.run`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from kinestream.delivery import Limits
from kinestream.errors import Fenced, RedisUnavailable, RunLost
from kinestream.fields import MAX_TEXT
from kinestream.keys import Keys, check_camera
from kinestream.logs import about
from kinestream.messages import Frame, Lane
from kinestream.redis import is_away, reason, through_outages
from kinestream.run import Run
from kinestream_ingest.capture import Captured
from kinestream_ingest.fullpause import LONGEST_S, FullPause

REDIS_FULL = "redis-full"
"""Cause of a live frame that Redis had no memory for."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Offering:
    """The runs of one camera, as far as this process has begun them; the last one is open.

    `offered` counts the frames that Redis acknowledged, `late_s` is how long after its capture the last one
    was. `away` says whether the last try found Redis away, `open` whether there is an open run. `refused`
    counts the frames that were given up on since Redis had no memory. Setting `stop` ends every wait.
    """

    def __init__(
        self,
        redis: Redis,
        camera: str,
        *,
        lane: Lane,
        source: str,
        stop: asyncio.Event,
        keys: Keys | None = None,
        limits: Limits | None = None,
        run_key: str = "",
        priority: int = 0,
        max_age_ms: int | None = None,
    ) -> None:
        """`source` is a description without credentials; `priority` and `max_age_ms` as for `Run.begin`.

        With a `run_key` the run that was begun with the same key goes on, if it is open (see `begin`), and it
        is the only one: if Redis loses it, `offer` ends it and raises `RunLost`.

        Raises `UsageError` for a bad camera name.
        """
        self.camera = check_camera(camera)
        self.lane = lane
        self.runs: list[Run] = []
        self.offered = 0
        self.late_s = 0.0
        self.away = False
        self.open = False
        self.refused = 0
        self._begin_run = partial(
            Run.begin,
            redis,
            camera,
            lane=lane,
            source=source,
            keys=keys,
            limits=limits,
            priority=priority,
            max_age_ms=max_age_ms,
        )
        self._run_key = run_key
        self._resume_run = partial(Run.resume, redis, camera, token=run_key, keys=keys, limits=limits)
        self._source = source
        self._stop = stop
        self._first = 0  # index of the frame that is seq 0 of the open run
        self._causes: set[str] = set()  # why frames since the last acknowledged one were given up on
        self._full_pause = FullPause()
        self._complained = False  # that Redis has no memory left: once is enough

    @property
    def run(self) -> Run:
        """The open run."""
        return self.runs[-1]

    def seq(self, index: int) -> int:
        """The number that the frame with this index has, or will have, in the open run."""
        return index - self._first

    async def begin(self, after: int = 0) -> None:
        """Open a run with a number larger than `after`; or go on with the open one of this `run_key`.

        The latter has `produced` frames already, which are not offered again.
        """
        if await self._resume():
            return
        begin = partial(self._begin_run, after=after, token=self._run_key or uuid.uuid4().hex)
        run = await self._insist(begin, f"beginning a run of {self.camera}")
        self.runs.append(run)
        self.open = True
        what = about(self.camera, run.number)
        _log.info("%s: run %d begins, %s, %s", self.camera, run.number, self.lane, self._source, extra=what)

    async def _resume(self) -> bool:
        what = f"looking for a run of {self.camera}"
        run = await self._insist(self._resume_run, what) if self._run_key else None
        if run is None:
            return False
        self.runs.append(run)
        self.open = True
        _log.warning(
            "%s: run %d goes on after %d frames",
            self.camera,
            run.number,
            run.produced,
            extra=about(self.camera, run.number),
        )
        return True

    async def began_us(self) -> int:
        """When the open run began, on Redis's clock: the same for all who go on with it; 0 without a key."""
        return await self._insist(self.run.began_us, "looking when the run began") if self._run_key else 0

    async def offer(self, captured: Captured, causes: set[str]) -> None:
        """Offer one frame until it is acknowledged, given up on, or this process is told to stop.

        `causes` say why the frames between this one and the one before it never came. Raises `Fenced`, and
        `RedisUnavailable` when told to stop while Redis is away.
        """
        self._causes |= causes
        while (outcome := await self._try(captured)) != "ok":
            if outcome == "given-up" or (outcome == "full" and await self._pause(self._full_pause.next_s())):
                return
        self._full_pause.taken_in()
        self._causes.clear()
        self._complained = False
        self.offered += 1
        self.late_s = time.time() - captured.captured_us / 1e6

    async def _try(self, captured: Captured) -> str:
        """Offer once, outages aside: `ok`, `full`, `given-up`, or `again` in a new run."""
        try:
            outcome = await self._through_outages(
                lambda: self.run.offer(self._frame(captured), gap_cause=_joined(self._causes)),
                f"offering frames of {self.camera}",
            )
        except Fenced:
            self.open = False
            raise
        except RunLost as lost:
            await self._begin_again(lost)
            return "again"
        except OutOfMemoryError as error:
            self._complain(error)
            if self.lane == "every-frame":
                return "full"
            self._causes.add(REDIS_FULL)
            self.refused += 1
            return "given-up"
        return "full" if outcome == "full" else "ok"

    async def finish(self, *, taken: int, causes: set[str], cause: str = "") -> None:
        """End the run after the frame before index `taken`; `cause` says why, if the source did not just end.

        `causes` say why frames after the last one offered never came.
        """
        causes = self._causes | causes
        await self._end(frames=self.seq(taken), gap_cause=_joined(causes), cause=cause[:MAX_TEXT])

    async def finish_stopped(self) -> None:
        """End the run after its last acknowledged frame."""
        await self._end(cause="stopped")

    async def _end(self, *, frames: int | None = None, gap_cause: str = "", cause: str = "") -> None:
        run = self.run
        self.open = False
        what = f"ending run {run.number} of {self.camera}"
        try:
            await self._insist(partial(run.finish, frames=frames, gap_cause=gap_cause, cause=cause), what)
        except RunLost as lost:
            await self._insist(partial(run.finish_lost, lost.known), what)
        ended = about(self.camera, run.number)
        _log.info("%s: run %d ended after %d frames", self.camera, run.number, run.produced, extra=ended)

    async def _begin_again(self, lost: RunLost) -> None:
        """End a run that Redis has forgotten; the frames that it never had go into the next one."""
        _log.warning(
            "%s: that run ends and a new one begins", lost, extra=about(self.camera, self.run.number)
        )
        old = self.run
        self.open = False
        what = f"ending run {old.number} of {self.camera}"
        await self._insist(partial(old.finish_lost, lost.known), what)
        if self._run_key:  # whoever started this waits for that run, and would not know of another
            raise lost
        self._first += old.produced
        await self.begin(after=old.number)

    def _frame(self, captured: Captured) -> Frame:
        image = captured.image
        return Frame(
            camera=self.camera,
            run=self.run.number,
            seq=self.seq(captured.index),
            captured_us=captured.captured_us,
            media_time_s=captured.media_time_s,
            width=image.width,
            height=image.height,
            view=image.view,
            codec="jpeg",
            data=image.data,
            lane=self.lane,
            encoded_ms=image.encoded_ms,
            clock=captured.clock,
        )

    async def _insist(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """Make a call until Redis is there and has memory for it."""
        while True:
            try:
                return await self._through_outages(call, what)
            except OutOfMemoryError as error:
                self._complain(error)
                if await self._pause(LONGEST_S):
                    raise RedisUnavailable(f"stopped while Redis had no memory left, {what}") from error

    async def _through_outages(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        async def attempt() -> T:
            try:
                result = await call()
            except Exception as error:
                self.away = is_away(error)
                raise
            self.away = False
            return result

        return await through_outages(attempt, what=what, stop=self._stop)

    def _complain(self, error: OutOfMemoryError) -> None:
        if not self._complained:
            _log.warning(
                "%s: Redis has no memory left: %s", self.camera, reason(error), extra=about(self.camera)
            )
        self._complained = True

    async def _pause(self, about_s: float) -> bool:
        """Wait, with jitter, since many producers may wait for the same room; return whether to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), random.uniform(0.5, 1) * about_s)
        return self._stop.is_set()


def _joined(causes: set[str]) -> str:
    """The cause of a gap; one that has several names them all, since a gap becomes one record."""
    return "+".join(sorted(causes))
