"""Where one frame is, or was: in its camera's stream, among the results, among the dead letters, or gone.

Nothing is changed. Not for: showing it (`commands/trace.py`), nor for following a camera (`subscribe`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from kinestream.deadletters import DeadLetter, read_dead_letters
from kinestream.delivery import untyped
from kinestream.errors import MessageError
from kinestream.keys import GROUP, RETURNED, Keys
from kinestream.ledger import Ledger, read_ledger
from kinestream.messages import PoseResult

_PAGE = 500
"""Records read at a time: a few hundred kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """A frame that is still in its stream: waiting if `holder` is empty, else held by that worker.

    `idle_ms` is the time since it was taken or its lease renewed. One that was handed back is waiting again.
    """

    holder: str = ""
    idle_ms: int = 0
    deliveries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All that Redis knows of one frame: what is None or empty is not there, or not any more."""

    ledger: Ledger | None
    in_flight: InFlight | None
    records: tuple[PoseResult, ...]
    letters: tuple[DeadLetter, ...]


async def trace(redis: Redis, camera: str, run: int, seq: int, *, keys: Keys | None = None) -> Trace:
    """Look for a frame everywhere. More than one record means that something is wrong.

    Records are found as long as they are kept (5 minutes, unless told otherwise).
    """
    keys = keys or Keys()
    name = f"{run}-{seq}"
    return Trace(
        ledger=await read_ledger(redis, camera, run, keys=keys),
        in_flight=await _in_flight(redis, keys.frames(camera), name),
        records=tuple([record async for record in _records(redis, keys, camera, run, seq)]),
        letters=tuple(
            [
                letter
                async for letter in read_dead_letters(redis, camera=camera, keys=keys)
                if letter.name == name
            ]
        ),
    )


async def _in_flight(redis: Redis, frames: str, name: str) -> InFlight | None:
    if not await untyped(redis).xrange(frames, name, name):
        return None
    try:
        pending: list[Any] = await untyped(redis).xpending_range(frames, GROUP, name, name, 1)
    except ResponseError:  # no group (any more): nobody holds it
        pending = []
    if not pending:
        return InFlight()
    (entry,) = pending
    holder = entry["consumer"].decode()
    return InFlight(
        holder="" if holder == RETURNED else holder,
        idle_ms=entry["time_since_delivered"],
        deliveries=entry["times_delivered"],
    )


async def _records(redis: Redis, keys: Keys, camera: str, run: int, seq: int) -> AsyncIterator[PoseResult]:
    """Records that stand for this frame, the `end` of its run not among them."""
    start = "-"
    while entries := await untyped(redis).xrange(keys.results, min=start, count=_PAGE):
        for entry_id, fields in entries:
            packed = fields.get(b"result", b"")
            if camera.encode() not in packed:  # far cheaper than reading every record
                continue
            try:
                record = PoseResult.unpack(packed)
            except MessageError:
                continue
            if (
                (record.camera, record.run) == (camera, run)
                and record.frames
                and record.seq <= seq <= record.last
            ):
                yield replace(record, committed_ms=int(entry_id.partition(b"-")[0]))
        start = f"({entries[-1][0].decode()}"
