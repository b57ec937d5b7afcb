"""Reading the results stream from an id on, through outages, with what went wrong told as events.

The running number in an entry's id grows by one a record, whatever the camera: a jump says how many records
were trimmed before they were read, a step back that Redis lost its memory. Not for: opening records, choosing
cameras, order (see `subscriber.py`, `reorder.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from kinestream.cursor import Cursor, EntryId, Position
from kinestream.delivery import untyped
from kinestream.keys import Keys
from kinestream.pipelined import Pipelined, value_of
from kinestream.redis import BLOCK_MS, through_outages

COUNT = 64
"""Entries a read: some hundred kilobytes, so that one far behind neither stops nor floods its process."""

_BEGINNING = EntryId(0, 0)

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A record as it was committed; `packed` is empty if the entry is none of ours."""

    id: EntryId
    packed: bytes


class Trimmed(NamedTuple):
    """The records numbered `first` to `last` are gone, and were not read."""

    first: int
    last: int


class MemoryLost(NamedTuple):
    """Redis knows less than was read already; `all_of_it` if it began anew."""

    all_of_it: bool


Event = Entry | Trimmed | MemoryLost


class ResultReader:
    """Reads on from `following`, the smallest id that was not read yet."""

    def __init__(self, redis: Redis, keys: Keys, following: EntryId) -> None:
        self.following = following
        self.clock_ms = 0
        """Redis's clock at the last entry, from an origin of its own, since it never goes back."""
        self._redis = redis
        self._blocking = Pipelined(redis)
        self._keys = keys
        self._last_ms: int | None = None
        self._read_at = self._checked_at = time.monotonic()

    @property
    def idle_clock_ms(self) -> float:
        """The clock when there is nothing to read: what is not there was not committed up to now.

        It goes on from the last entry on this host's clock. An outage does not count, since nobody could
        commit.
        """
        return self.clock_ms + (time.monotonic() - self._read_at) * 1000

    async def read(self, wait_ms: float) -> Iterator[Event] | None:
        """Wait up to `wait_ms` (and a second at most) for events; None if there were none.

        `following` and `clock_ms` go on with each event that is taken from the iterator: take all of them
        before the next call.
        """
        block_ms = int(min(wait_ms, BLOCK_MS))
        tries = 0

        async def xread() -> Any:
            nonlocal tries
            tries += 1
            block = ("BLOCK", block_ms) if block_ms else ()  # BLOCK 0 would wait for ever
            after = str(self.following.preceding)
            return await self._blocking.command(
                "XREAD", "COUNT", COUNT, *block, "STREAMS", self._keys.results, after
            )

        reply = await through_outages(xread, what="reading results")
        if reply or tries > 1:
            self._read_at = time.monotonic()
        if reply:
            return self._events(reply[0][1])
        if tries > 1 or time.monotonic() - self._checked_at >= BLOCK_MS / 1000:
            return await self._check_memory()
        return None

    def _events(self, entries: list[tuple[bytes, list[bytes]]]) -> Iterator[Event]:
        for text, fields in entries:
            entry = EntryId.parse(text)
            expected = self.following.number
            if entry.number < expected:
                yield self._go_back(entry)
            elif entry.number > expected:
                self.following = entry
                yield Trimmed(expected, entry.number - 1)
            self.following = entry.following
            self.clock_ms += max(0, entry.ms - (self._last_ms or entry.ms))
            self._last_ms = entry.ms
            yield Entry(entry, value_of(fields, b"result") or b"")

    async def close(self) -> None:
        """Give the connection back."""
        await self._blocking.close()

    async def _check_memory(self) -> Iterator[Event] | None:
        """Look whether Redis lost its memory and its clock was set back: its ids are below `following` then.

        Where they began is unknown, so reading goes on after the newest one, which misses a second at most.
        """
        self._checked_at = time.monotonic()
        following = (await _snapshot(self._redis, self._keys)).following
        return iter([self._go_back(following)]) if following < self.following else None

    def _go_back(self, following: EntryId) -> MemoryLost:
        _log.warning(
            "Redis lost its memory: after record %d of the results comes record %d, going on from there",
            self.following.number - 1,
            following.number,
        )
        self.following = following
        self._last_ms = None
        return MemoryLost(all_of_it=following.number == 0)


class _Snapshot(NamedTuple):
    """What Redis knows at one instant."""

    running: dict[str, int]  # cameras whose run is open, or has frames left -> their newest run
    oldest: EntryId | None  # of the results that are kept
    following: EntryId  # after the newest result, which need not be kept


async def cursor_at_end(redis: Redis, keys: Keys, *, ordered: bool) -> Cursor:
    """The cursor of whoever wants what is committed from now on.

    In the order of frames, a run that is going on begins with whichever frame comes first, later ones with
    frame 0.
    """
    running, _, following = await _snapshot(redis, keys)
    if not ordered:
        return Cursor(following=following)
    positions = {camera: Position(run, None, begun=False) for camera, run in sorted(running.items())}
    return Cursor(following=following, ordered=True, untold=following.number, positions=positions)


async def cursor_at_beginning(redis: Redis, keys: Keys, *, ordered: bool) -> Cursor:
    """The cursor of whoever wants all that is kept.

    In the order of frames, a run of which the first frames may be trimmed begins with whichever comes first.
    """
    _, oldest, following = await _snapshot(redis, keys)
    following = oldest or following
    if not ordered:
        return Cursor(following=following)
    since_ms = following.ms if following.number else 0
    return Cursor(following=following, ordered=True, untold=following.number, since_ms=since_ms)


async def _snapshot(redis: Redis, keys: Keys) -> _Snapshot:
    async def read(transaction: bool = True) -> list[Any]:
        async with redis.pipeline(transaction=transaction) as pipe:
            commands = untyped(pipe)
            commands.hgetall(keys.cameras).smembers(keys.active).xinfo_stream(keys.results)
            try:
                replies: list[Any] = await commands.execute(raise_on_error=False)
            except OutOfMemoryError:
                # Where no memory is left, a transaction may not even read. Without one the three still arrive
                # together, and a server carries out what arrives together without a break.
                return await read(transaction=False)
        for reply in replies:
            if isinstance(reply, Exception) and "no such key" not in str(reply):
                raise reply
        return replies

    runs, active, info = await through_outages(read, what="reading results")
    running = {camera.decode(): int(run) for camera, run in runs.items() if camera in active}
    if isinstance(info, Exception):
        return _Snapshot(running, None, _BEGINNING)
    newest = EntryId.parse(info["last-generated-id"])
    oldest = info["first-entry"] and EntryId.parse(info["first-entry"][0])
    return _Snapshot(running, oldest or None, newest.following if newest != _BEGINNING else newest)
