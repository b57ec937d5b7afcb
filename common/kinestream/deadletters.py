"""Dead letters: the frames that were given up on, to be read, thrown away, or put back to work.

Workers write them when they commit `failed`; the stream is bounded in bytes, oldest out first. Not for:
deciding that a frame is given up on (that is a worker's), nor for showing them (`commands/dead.py`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from kinestream.delivery import untyped
from kinestream.errors import DeliveryError, MessageError, UsageError
from kinestream.keys import Keys, check_camera
from kinestream.messages import Frame, PoseResult
from kinestream.redis import through_outages
from kinestream.run import Run

_PAGE = 10
"""Letters read at a time: each holds a whole frame, which may have megabytes."""

_ROOM_S = 0.05
"""Between two tries while the camera's stream is full: workers take longer for a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One frame that was given up on, with all that is known about why.

    `id` names the letter, `name` (`<run>-<seq>`) the frame; `packed` are the bytes of its message, whatever
    they are, `record` those of the result that was published. `died_ms` is Redis's clock.
    """

    id: str
    camera: str
    name: str
    cause: str
    error: str
    traceback: str = field(repr=False)
    worker: str
    deliveries: int
    packed: bytes = field(repr=False)
    record: bytes = field(repr=False, default=b"")

    @property
    def died_ms(self) -> int:
        """When the frame was given up on, milliseconds since 1970."""
        return int(self.id.partition("-")[0])

    def frame(self) -> Frame:
        """The frame itself; raises `MessageError` if its message is what was wrong with it."""
        return Frame.unpack(self.packed)

    @property
    def model(self) -> str:
        """The model of the worker that gave it up; empty if that is not known."""
        try:
            return PoseResult.unpack(self.record).model
        except MessageError:
            return ""

    @classmethod
    def of(cls, entry_id: bytes, entry: dict[bytes, bytes]) -> Self:
        """Read an entry of the stream; fields that are missing are empty."""

        def text(name: bytes) -> str:
            return entry.get(name, b"").decode(errors="replace")

        deliveries = text(b"deliveries")
        return cls(
            id=entry_id.decode(),
            packed=entry.get(b"frame", b""),
            record=entry.get(b"record", b""),
            deliveries=int(deliveries) if deliveries.isdecimal() else 0,
            **{
                name: text(name.encode())
                for name in ("camera", "name", "cause", "error", "traceback", "worker")
            },
        )


async def read_dead_letters(
    redis: Redis, *, camera: str | None = None, keys: Keys | None = None
) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters, of one camera or of all, oldest first."""
    keys = keys or Keys()
    after = "-"
    while entries := await untyped(redis).xrange(keys.dead, min=after, count=_PAGE):
        for entry_id, entry in entries:
            letter = DeadLetter.of(entry_id, entry)
            if camera in (None, letter.camera):
                yield letter
        after = f"({entries[-1][0].decode()}"


async def read_dead_letter(redis: Redis, letter_id: str, *, keys: Keys | None = None) -> DeadLetter:
    """The dead letter of this id; raises `UsageError` if there is none (any more)."""
    if not _is_id(letter_id):
        raise UsageError(f"a dead letter's id looks like 1790000000000-0, got {letter_id[:80]!r}")
    entries: list[Any] = await untyped(redis).xrange((keys or Keys()).dead, letter_id, letter_id)
    if not entries:
        raise UsageError(
            f"there is no dead letter {letter_id}: it was purged or requeued, or others took its room"
        )
    return DeadLetter.of(*entries[0])


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,19}-[0-9]{1,19}", text) is not None


async def purge(redis: Redis, *, before_ms: int, keys: Keys | None = None) -> int:
    """Throw away the letters of frames that died before this time on Redis's clock; return how many."""
    return int(await untyped(redis).xtrim((keys or Keys()).dead, minid=max(0, before_ms), approximate=False))


async def discard(redis: Redis, letters: Iterable[DeadLetter], *, keys: Keys | None = None) -> int:
    """Throw away these letters; return how many there were."""
    ids = [letter.id for letter in letters]
    return int(await untyped(redis).xdel((keys or Keys()).dead, *ids)) if ids else 0


async def requeue(
    redis: Redis,
    letters: Iterable[DeadLetter],
    *,
    camera: str,
    stop: asyncio.Event | None = None,
    keys: Keys | None = None,
) -> Run:
    """Offer the frames of dead letters again, in this order, as a new run of `camera` on the every-frame
    lane.

    Each frame keeps its times and picture, gets a seq of the new run, and names where it comes from in
    `origin`. Its letter is thrown away once Redis has acknowledged it, so a crash in between leaves it both
    queued and a letter, never neither. Waits for room, and while Redis is away; `stop` ends that after the
    frame at hand.

    Raises `UsageError` if somebody produces that camera now (a new run would end theirs), `MessageError`
    before anything is done if one of the letters holds no frame, `DeliveryError` when Redis's memory is full,
    `RedisUnavailable` when told to stop while Redis is away, and what `Run` raises.
    """
    try:
        return await _requeue(redis, letters, camera, stop, keys or Keys())
    except OutOfMemoryError as error:
        raise DeliveryError(
            f"{camera}: Redis's memory is full; the letters that were not requeued are still there"
        ) from error


async def _requeue(
    redis: Redis, letters: Iterable[DeadLetter], camera: str, stop: asyncio.Event | None, keys: Keys
) -> Run:
    frames = [(letter, _frame(letter)) for letter in letters]
    patiently = partial(through_outages, what="putting dead letters back to work", stop=stop)
    check_camera(camera)
    begin = partial(
        Run.begin,
        redis,
        camera,
        lane="every-frame",
        source="dead letters",
        keys=keys,
        token=uuid.uuid4().hex,
        if_over=True,
    )
    try:
        run = await patiently(begin)
    except UsageError as error:
        raise UsageError(f"{error}: requeue as another camera, with --as NAME") from error
    try:
        for letter, frame in frames:
            seq = run.produced
            again = dataclasses.replace(
                frame,
                camera=camera,
                run=run.number,
                seq=seq,
                lane="every-frame",
                origin=frame.origin or f"{letter.camera}/{letter.name}",
            )
            while await patiently(partial(run.offer, again)) == "full":
                if await _told_to_stop(stop):
                    return run
            await patiently(partial(discard, redis, [letter], keys=keys))
            if stop is not None and stop.is_set():
                break
    finally:
        cause = "stopped" if stop is not None and stop.is_set() else ""
        await patiently(partial(run.finish, cause=cause))
    return run


def _frame(letter: DeadLetter) -> Frame:
    try:
        return letter.frame()
    except MessageError as error:
        raise MessageError(f"the dead letter {letter.id} holds no frame: {error}") from error


async def _told_to_stop(stop: asyncio.Event | None) -> bool:
    if stop is None:
        await asyncio.sleep(_ROOM_S)
        return False
    try:
        await asyncio.wait_for(stop.wait(), _ROOM_S)
    except TimeoutError:
        return False
    return True
