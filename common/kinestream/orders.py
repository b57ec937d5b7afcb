"""The three orders in which a subscriber gets records: of commit, of frames, of each camera only the latest.

Each is a generator over a reader's events, for ever. Not for: Redis (see `resultreader.py`), nor what has to
wait for what (see `reorder.py`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

from kinestream.cursor import EntryId, commit_text, frame_text
from kinestream.errors import MessageError, UnsupportedVersion
from kinestream.fields import clip_text
from kinestream.messages import ANY_CAMERA, PoseResult
from kinestream.redis import BLOCK_MS
from kinestream.reorder import Reorderer
from kinestream.resultreader import COUNT, Entry, Event, MemoryLost, Trimmed

Cameras = frozenset[str] | None
"""The cameras wanted; None for all."""


class Reader(Protocol):
    """What an order needs of a `ResultReader`; tests have readers of their own."""

    following: EntryId
    clock_ms: int

    @property
    def idle_clock_ms(self) -> float:
        """The clock when there is nothing to read."""

    async def read(self, wait_ms: float) -> Iterator[Event] | None:
        """Wait up to `wait_ms` for events; None if there were none."""


async def in_order_of_commit(reader: Reader, cameras: Cameras) -> AsyncGenerator[PoseResult, None]:
    """Yield every record as it was committed."""
    while True:
        for event in await reader.read(BLOCK_MS) or ():
            if record := _record(event, cameras):
                yield _with_cursor(record, commit_text(reader.following))


async def in_order_of_frames(
    reader: Reader, cameras: Cameras, reorderer: Reorderer, *, held: bool, untold: int
) -> AsyncGenerator[PoseResult, None]:
    """Yield what `reorderer` lets go of. `held` and `untold` are the cursor's at which the reader begins."""
    held_number = reader.following.number if held else None

    def cursor() -> str:
        oldest = reorderer.oldest
        next_untold = max(untold, reader.following.number)
        marks = reorderer.marks
        return frame_text(
            oldest or reader.following, oldest is not None, next_untold, reorderer.since_ms, marks
        )

    while True:
        due_ms = reorderer.due_ms
        wait_ms = BLOCK_MS if due_ms is None else due_ms - reader.idle_clock_ms
        events = await reader.read(math.ceil(min(max(wait_ms, 0), BLOCK_MS)))
        for event in events or ():
            if isinstance(event, MemoryLost):
                untold = 0
                if event.all_of_it:
                    reorderer.unblock()
            # What was held and is trimmed by now was not told. As it is unknown how much, all is told again.
            held_is_gone = isinstance(event, Trimmed) and event.first == held_number
            record = _record(event, cameras, 0 if held_is_gone else untold)
            held_number = None
            if record and isinstance(event, Entry) and record.camera != ANY_CAMERA:
                reorderer.add(record, event.id, len(event.packed), reader.clock_ms)
            elif record:
                yield _with_cursor(record, cursor())
            if reader.following.number < untold:
                continue  # until all is held again that was held when the cursor was made
            while released := reorderer.release(reader.clock_ms):
                yield _with_cursor(released, cursor())
        if events is None:
            while released := reorderer.release(reader.idle_clock_ms):
                yield _with_cursor(released, cursor())


async def latest(reader: Reader, cameras: Cameras) -> AsyncGenerator[PoseResult, None]:
    """Yield the newest record of the camera that has waited longest, once all that is there was read."""
    newest: OrderedDict[str, PoseResult] = OrderedDict()
    shown: dict[str, tuple[int, int]] = {}
    while True:
        wait_ms = 0 if newest else BLOCK_MS
        read_all = False
        while not read_all:
            events = list(await reader.read(wait_ms) or ())
            read_all, wait_ms = len(events) < COUNT, 0
            for event in events:
                record = _record(event, cameras) if isinstance(event, Entry) else None
                if record is None or record.camera == ANY_CAMERA:
                    continue
                is_older = (record.run, record.last) <= shown.get(record.camera, (0, 0))
                rival = newest.get(record.camera)
                if not is_older and (rival is None or _rank(record) >= _rank(rival)):
                    newest[record.camera] = record
        if newest:
            camera, record = newest.popitem(last=False)
            if record.status in _SHOWN:
                shown[camera] = record.run, record.last
            yield _with_cursor(record, commit_text(reader.following))


_SHOWN = ("ok", "end")


def _rank(record: PoseResult) -> tuple[int, bool, int]:
    """What a viewer counts as newer; poses go first, as later frames are dropped while one is inferred."""
    return record.run, record.status in _SHOWN, record.last


def _record(event: Event, cameras: Cameras, untold: int = 0) -> PoseResult | None:
    """The record that tells an event, None if it need not be told. Raises `UnsupportedVersion`."""
    if isinstance(event, Trimmed):
        count = event.last - max(event.first, untold) + 1
        return _of_any_camera(count, "trimmed") if count > 0 else None
    if not isinstance(event, Entry):
        return None
    # A name stands in its message as plain bytes, and looking for these costs a hundredth of unpacking.
    if cameras and not any(camera.encode() in event.packed for camera in cameras):
        return None
    try:
        record = PoseResult.unpack(event.packed)
    except UnsupportedVersion:
        raise
    except MessageError as error:
        return _of_any_camera(1, clip_text(f"unreadable: {error}")) if event.id.number >= untold else None
    if cameras and record.camera not in cameras:
        return None
    object.__setattr__(record, "committed_ms", event.id.ms)
    return record


def _of_any_camera(count: int, cause: str) -> PoseResult:
    seq_to = count - 1 if count > 1 else None
    return PoseResult(camera=ANY_CAMERA, run=1, seq=0, seq_to=seq_to, status="missing", cause=cause)


def _with_cursor(record: PoseResult, cursor: str) -> PoseResult:
    # Nobody else has the record yet, and a copy would check all of its numbers again.
    object.__setattr__(record, "cursor", cursor)
    return record
