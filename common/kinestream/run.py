"""The producer's side of delivery: one run of a camera, from `begin` to `finish`.

The story is told in `delivery.py`. Not for: capturing, encoding, pacing, nor waiting while Redis is away;
every method makes one attempt, may be called again after a lost connection, and raises redis's own errors.
"""

from __future__ import annotations

import uuid
from typing import Any, Literal, Self

from redis.asyncio import Redis

from kinestream.delivery import Limits, Scripts, untyped
from kinestream.errors import Fenced, RunLost, UsageError
from kinestream.keys import Keys, check_camera
from kinestream.messages import Frame, Lane, PoseResult, packed_drop
from kinestream.turns import Wishes

NO_ROOM = "no-room"
"""Cause of a live frame that gave way to a newer one; the ledger counts it under the same words (see
offer.lua).
"""


class Run:
    """An open run. Make one with `Run.begin`; its frames are offered with seq 0, 1, 2, …

    `number` is the run's number, `produced` how many frames Redis has acknowledged, which is also the next
    seq.
    """

    def __init__(
        self, redis: Redis, keys: Keys, limits: Limits, camera: str, lane: Lane, number: int, token: str
    ) -> None:
        self.camera = camera
        self.lane = lane
        self.number = number
        self.produced = 0
        self._token = token
        self._redis = redis
        self._keys = keys
        self._limits = limits
        self._scripts = Scripts(redis)

    @classmethod
    async def begin(
        cls,
        redis: Redis,
        camera: str,
        *,
        lane: Lane,
        source: str = "",
        keys: Keys | None = None,
        limits: Limits | None = None,
        after: int = 0,
        token: str | None = None,
        if_over: bool = False,
        priority: int = 0,
        max_age_ms: int | None = None,
    ) -> Self:
        """Open a new run of `camera` and close the one before it.

        `source` is a description without credentials. The run's number is larger than every earlier one and
        than `after`, even if Redis lost its memory, since it is not smaller than Redis's clock in seconds.
        Calling again with the same `token` after a lost reply opens no second run. `if_over` leaves the run
        before it alone. Cameras of a higher `priority`, 0 to 9, are served first when workers are short; live
        frames older than `max_age_ms` are stale, the default is each worker's own. Raises `UsageError` for a
        camera name, priority or age that is not allowed, and if that run is not over.
        """
        check_camera(camera)
        wishes = Wishes(lane=lane, priority=priority, max_age_ms=max_age_ms)
        keys = keys or Keys()
        limits = limits or Limits()
        token = token or uuid.uuid4().hex
        while True:
            before = await newest_run(redis, camera, keys=keys)
            clock_s = int((await redis.time())[0])
            frames_before, token_before, is_open = await _facts(redis, keys, camera, before)
            # The stored run is ours if the reply to an earlier try got lost; the script then only says so
            # again.
            ours = token_before == token
            if if_over and is_open and not ours:  # whoever begins from now on makes the script say `moved`
                raise UsageError(f"{camera} is being produced now (run {before})")
            number = before if ours else max(before + 1, clock_s, after + 1)
            end_before = PoseResult(
                camera=camera, run=before or 1, seq=frames_before, status="end", cause="next-run"
            )
            run = cls(redis, keys, limits, camera, lane, number, token)
            reply = await run._scripts.call(
                "begin",
                [
                    keys.cameras,
                    keys.active,
                    keys.results,
                    keys.frames(camera),
                    keys.ledger(camera, number),
                    keys.ledger(camera, before),
                ],
                [
                    camera,
                    number,
                    before or "",
                    frames_before,
                    end_before.pack(),
                    limits.ledger_s,
                    token,
                    lane,
                    source,
                    *limits.of_results,
                    wishes.priority,
                    wishes.max_age_ms or "",
                ],
            )
            if reply == b"ok":
                return run

    @classmethod
    async def resume(
        cls,
        redis: Redis,
        camera: str,
        *,
        token: str,
        keys: Keys | None = None,
        limits: Limits | None = None,
    ) -> Self | None:
        """The newest run of `camera`, where its ledger stands, if it was begun with this `token` and is open.

        None if there is no such run: somebody else has begun one since, it is over, or Redis forgot it. For a
        process that goes on with the work of one that died. Should that one live after all, both may offer
        the same frames, since a frame that was offered before is acknowledged again.
        """
        check_camera(camera)
        keys = keys or Keys()
        number = await newest_run(redis, camera, keys=keys)
        produced, its_token, is_open = await _facts(redis, keys, camera, number)
        if its_token != token or not is_open:
            return None
        its_lane = await untyped(redis).hget(keys.ledger(camera, number), "lane")
        lane: Lane = "live" if its_lane == b"live" else "every-frame"
        run = cls(redis, keys, limits or Limits(), camera, lane, number, token)
        run.produced = produced
        return run

    async def began_us(self) -> int:
        """When the run began, microseconds since 1970 on Redis's clock; 0 if Redis forgot it."""
        ledger = self._keys.ledger(self.camera, self.number)
        return int(await untyped(self._redis).hget(ledger, "began_us") or 0)

    async def offer(self, frame: Frame, *, gap_cause: str = "") -> Literal["ok", "dropped", "full"]:
        """Offer the next frame, or a later one with the cause why those between were given up on.

        Returns `ok`, `dropped` (a live frame for which there was no room; it is accounted for), or `full` (an
        every-frame camera has to wait, nothing has changed). A frame offered before is acknowledged again.
        Raises `Fenced` if a newer run has begun, `RunLost` if Redis knows less than it had acknowledged, and
        `ValueError` for a frame that is not of this run.
        """
        if (frame.camera, frame.run, frame.lane) != (self.camera, self.number, self.lane):
            raise ValueError(
                f"run {self.number} of {self.camera} is {self.lane}, "
                f"got a frame of {frame.camera}, run {frame.run}, {frame.lane}"
            )
        packed, if_dropped = frame.pack(), packed_drop(frame, NO_ROOM)
        room = self._limits.live_room if self.lane == "live" else self._limits.every_frame_room
        limits = self._limits
        while True:
            outcome, produced = await self._scripts.call(
                "offer",
                self._script_keys(),
                [
                    self.camera,
                    self.number,
                    self._token,
                    frame.seq,
                    packed,
                    if_dropped,
                    self.lane,
                    room,
                    limits.stream_bytes,
                    *self._gap(frame.seq, gap_cause),
                    *limits.of_results,
                ],
            )
            if outcome != b"moved":
                break
            self.produced = produced  # the gap begins later
        self._raise_if_refused(outcome, produced)
        self.produced = max(self.produced, produced)
        return outcome.decode()  # type: ignore[no-any-return]

    async def finish(self, *, frames: int | None = None, gap_cause: str = "", cause: str = "") -> None:
        """End the run after `frames` frames (default: as many as were acknowledged).

        `cause` says why the run ended, empty if its source simply came to its end, and `gap_cause` why frames
        after the last acknowledged one were given up on, if not for the same reason. A frame that Redis took
        in though its reply got lost counts as produced. Raises `Fenced` or `RunLost`.
        """
        while True:
            total = max(self.produced, frames or 0)
            outcome, produced = await self._finish(
                total, self._end(total, cause), self._gap(total, gap_cause or cause), ""
            )
            if outcome != b"moved":
                break
            self.produced = produced
        self._raise_if_refused(outcome, produced)
        self.produced = produced

    async def finish_lost(self, known: int) -> None:
        """End a run of which Redis remembers `known` frames (`RunLost.known`): the others count as lost."""
        outcome = b"moved"
        while outcome == b"moved":  # Redis remembers yet another number of frames
            total = max(self.produced, known)
            end = self._end(total, "redis-lost-memory", lost_from=known)
            outcome, known = await self._finish(total, end, ("", "", ""), known)
        self.produced = max(self.produced, known)

    async def _finish(
        self, total: int, end: PoseResult, gap: tuple[Any, Any, str], lost_from: int | str
    ) -> tuple[bytes, int]:
        limits = self._limits
        outcome, produced = await self._scripts.call(
            "finish",
            self._script_keys(),
            [
                self.camera,
                self.number,
                self._token,
                total,
                end.pack(),
                limits.ledger_s,
                *gap,
                lost_from,
                *limits.of_results,
            ],
        )
        return outcome, produced

    def _script_keys(self) -> list[str]:
        keys = self._keys
        ledger = keys.ledger(self.camera, self.number)
        return [keys.cameras, keys.active, keys.frames(self.camera), ledger, keys.results]

    def _end(self, frames: int, cause: str, lost_from: int | None = None) -> PoseResult:
        return PoseResult(
            camera=self.camera, run=self.number, seq=frames, status="end", cause=cause, lost_from=lost_from
        )

    def _gap(self, until: int, cause: str) -> tuple[Any, Any, str]:
        """The arguments that explain the frames from the last acknowledged one up to `until`, exclusive."""
        if until <= self.produced:
            return "", "", ""
        if not cause:
            raise ValueError(f"frame {until} comes after {self.produced} frames, so a gap_cause is needed")
        record = PoseResult(
            camera=self.camera,
            run=self.number,
            seq=self.produced,
            seq_to=until - 1,
            status="dropped",
            cause=cause,
        )
        return self.produced, record.pack(), cause

    def _raise_if_refused(self, outcome: bytes, produced: int) -> None:
        if outcome == b"fenced":
            raise Fenced(f"{self.camera}: run {self.number} is over, a newer run of this camera has begun")
        if outcome == b"lost":
            raise RunLost(self.camera, self.number, self.produced, produced)


async def newest_run(redis: Redis, camera: str, *, keys: Keys | None = None) -> int:
    """The number of a camera's newest run, open or over; 0 if there is none."""
    return int(await untyped(redis).hget((keys or Keys()).cameras, camera) or 0)


async def run_of_token(
    redis: Redis, camera: str, token: str, *, keys: Keys | None = None
) -> tuple[int, bool]:
    """A camera's newest run if it was begun with this `token`, else 0; and whether it is open."""
    keys = keys or Keys()
    number = await newest_run(redis, camera, keys=keys)
    _, its_token, is_open = await _facts(redis, keys, camera, number)
    return (number, is_open) if its_token == token else (0, False)


async def _facts(redis: Redis, keys: Keys, camera: str, run: int) -> tuple[int, str, bool]:
    """Frames produced in a run, the token of its producer, and whether it is not over yet."""
    facts = await untyped(redis).hmget(keys.ledger(camera, run), "produced", "token", "state")
    produced, token, state = facts
    return int(produced or 0), (token or b"").decode(errors="replace"), state not in (None, b"ended")
