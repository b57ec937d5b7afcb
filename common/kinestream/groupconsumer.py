"""The worker's side of delivery: one consumer of the group `workers` on every camera's frames stream.

The story is told in `delivery.py`. Not for: decoding, batching, inference, nor waiting while Redis is away;
every method makes one attempt, may be called again after a lost connection, and raises redis's own errors.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence

import msgpack
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from kinestream.delivery import Limits, Scripts
from kinestream.held import Held, Outcome
from kinestream.keys import GROUP, RETURNED, Keys, camera_of_frames
from kinestream.pipelined import Pipelined, value_of
from kinestream.turns import Turns, Wishes, read_wishes
from kinestream.workerreports import WorkerReport, publish_report, withdraw_report

_MAX_ERROR_BYTES = 64 * 2**10
"""An error's text or traceback in a dead letter, the end of it: an exception may quote a whole frame."""

_NO_GROUP_PAUSE_S = 0.1
"""A missing group is not there again at once, and nobody should ask for it as fast as he can."""


class GroupConsumer:
    """One worker's membership; `name` must be unique among workers, since leases are listed under it."""

    def __init__(
        self, redis: Redis, name: str, *, keys: Keys | None = None, limits: Limits | None = None
    ) -> None:
        """Raise `ValueError` for an empty name, and for the one that means nobody."""
        if not name or name == RETURNED:
            raise ValueError(f"a worker's name must not be empty, nor {RETURNED!r}, got {name!r}")
        self.name = name
        self.limits = limits or Limits()
        self._redis = redis
        self._keys = keys or Keys()
        self._scripts = Scripts(redis)
        self._blocking = Pipelined(redis)
        self.wishes: Mapping[str, Wishes] = {}
        self.turns = Turns()

    async def cameras(self) -> list[str]:
        """Cameras that are running or have frames left, in alphabetical order; their `wishes` are kept."""
        packed = await self._scripts.call("look", [self._keys.active, self._keys.cameras], [])
        found = msgpack.unpackb(packed, raw=True)
        self.wishes = {camera.decode(): read_wishes(*told) for camera, *told in found}
        return sorted(self.wishes)

    def age_limit_ms(self, camera: str) -> float | None:
        """After which a live frame of this camera is stale, if its producer wished so."""
        wishes = self.wishes.get(camera)
        return wishes.max_age_ms if wishes else None

    async def take(
        self,
        cameras: Sequence[str],
        room: int,
        late_ms: float | None = None,
        *,
        turns: Turns | None = None,
    ) -> list[Held]:
        """Take up to `room` frames of `cameras`, in the order of their ranks and turns.

        Whoever takes of some cameras apart from the others keeps `turns` of their own for these.

        Live frames that have waited for `late_ms` or longer are taken as well, as `late`, and take no room.
        If the reply gets lost, the frames in it wait for one lease, since nobody knows that this worker
        holds them.
        """
        if not cameras or room < 1:
            return []
        turns = turns or self.turns
        plan = turns.plan(cameras, self.wishes, room)
        order, args = plan.cameras, [self.name, room, plan.owed, *plan.ranks]
        if late_ms is not None:
            args += [f"{max(0.0, late_ms):.3f}"] * len(order)
        asked_s = time.monotonic()
        now_us, taken = await self._scripts.call("take", list(map(self._keys.frames, order)), args)
        held = [
            _held(
                order[stream], entry_id, packed, deliveries, _since(offered_us, now_us), asked_s, bool(late)
            )
            for stream, entry_id, deliveries, packed, offered_us, late in taken
        ]
        turns.took(plan, (frame.camera for frame in held if not frame.late))
        return held

    async def wait(self, cameras: Sequence[str], wait_ms: int) -> list[Held]:
        """Block until a camera has a frame that was never taken, and take it; an empty list after `wait_ms`.

        When frames of several cameras have just come, one of each is taken, which may be more than there is
        room for. The list is empty soon if a stream has vanished, or its group; the next `take` creates the
        one again, the next `sweep` the other. Frames that are handed back do not wake it. Never cancel this
        call: an entry that arrives at that instant would be held by nobody until its lease ends.
        """
        if not cameras:
            await asyncio.sleep(wait_ms / 1000)
            return []
        streams = [self._keys.frames(camera) for camera in cameras]
        until_s = time.monotonic() + wait_ms / 1000
        how = ("GROUP", GROUP, self.name, "COUNT", 1, "BLOCK", wait_ms)
        try:
            reply = await self._blocking.command(
                "XREADGROUP", *how, "STREAMS", *streams, *[">"] * len(streams)
            )
        except ResponseError as error:
            if str(error).startswith("NOGROUP"):
                await asyncio.sleep(_NO_GROUP_PAUSE_S)
                return []
            if str(error).startswith("UNBLOCKED"):
                return []
            raise
        taken_s = min(time.monotonic(), until_s)
        return [
            # It arrived while this call was waiting, so it has not queued.
            _held(camera_of_frames(stream), entry_id, value_of(fields, b"frame"), 1, 0, taken_s)
            for stream, entries in reply or ()
            for entry_id, fields in entries
        ]

    async def renew(self, held: Sequence[Held]) -> list[bool]:
        """Renew the leases; false for a frame that is no longer this worker's."""
        if not held:
            return []
        return [
            bool(mine)
            for mine in await self._scripts.call("renew", self._streams(held), [self.name, *_ids(held)])
        ]

    async def hand_back(self, held: Sequence[Held], *, counted: bool) -> int:
        """Give frames back for others to take at once; `counted` if the frame itself is under suspicion."""
        if not held:
            return 0
        args = [self.name, "1" if counted else "0", *_ids(held)]
        return int(await self._scripts.call("hand_back", self._streams(held), args))

    async def sweep(self, cameras: Sequence[str]) -> int:
        """Move frames whose lease ran out to where all take from, and return how many.

        One worker at a time does it; the others are told 0.
        """
        streams = [self._keys.frames(camera) for camera in cameras]
        lease_ms = self.limits.lease_ms
        args = [self.name, lease_ms, max(1, lease_ms // 5), *self.limits.of_results, self.limits.dead_ms]
        keys = [self._keys.sweeper, self._keys.results, self._keys.dead, *streams]
        moved = await self._scripts.call("sweep", keys, args)
        return max(0, int(moved))

    async def commit(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Publish the outcomes of one batch in one step; false for a frame that was committed before.

        That was done by another worker, or by an earlier try of this one whose reply got lost.
        """
        if not outcomes:
            return []
        keys = [self._keys.results, self._keys.cameras, self._keys.active, self._keys.dead]
        limits = self.limits
        args: list[str | int | bytes] = [
            self.name,
            *limits.of_results,
            limits.dead_bytes,
            limits.pictures,
            limits.ledger_s,
        ]
        for outcome in outcomes:
            camera, result = outcome.held.camera, outcome.result
            keys += [
                self._keys.frames(camera),
                self._keys.ledger(camera, outcome.held.run),
                self._keys.want(camera),
                self._keys.pictures(camera),
            ]
            args += [camera, outcome.held.id, result.status, result.cause, result.pack()]
            args += [_error_bytes(outcome.error), _error_bytes(outcome.traceback)]
        return [bool(counts) for counts in await self._scripts.call("commit", keys, args)]

    async def leave(self, cameras: Iterable[str]) -> None:
        """Leave the group of each camera where nothing is held any more, and take the last report back."""
        await self.leave_groups(cameras)
        await withdraw_report(self._redis, self.name, keys=self._keys)

    async def leave_groups(self, cameras: Iterable[str]) -> None:
        """Leave the group of each camera where nothing is held any more; the next `take` joins again."""
        await self._scripts.call("leave", [self._keys.frames(camera) for camera in cameras], [self.name])

    async def report(self, report: WorkerReport) -> None:
        """Tell whoever looks how this worker is doing."""
        await publish_report(self._redis, report, keys=self._keys)

    def _streams(self, held: Sequence[Held]) -> list[str]:
        return [self._keys.frames(frame.camera) for frame in held]


def _error_bytes(text: str) -> bytes:
    """Text of an exception as bytes: what UTF-8 cannot carry must not keep a frame from being given up on."""
    return text.encode(errors="replace")[-_MAX_ERROR_BYTES:]


def _ids(held: Sequence[Held]) -> list[str]:
    return [frame.id for frame in held]


def _since(offered_us: bytes, now_us: bytes) -> int:
    """Microseconds; 0 if somebody wrote the entry past the scripts, without its time."""
    return int(now_us) - int(offered_us) if offered_us.isdigit() and len(offered_us) < 20 else 0


def _held(
    camera: str,
    entry_id: bytes,
    packed: bytes | None,
    deliveries: int,
    queued_us: int,
    taken_s: float,
    late: bool = False,
) -> Held:
    run, seq = entry_id.split(b"-")
    queued_ms = max(0, queued_us) / 1000
    return Held(camera, int(run), int(seq), packed or b"", deliveries, queued_ms, taken_s, late)
