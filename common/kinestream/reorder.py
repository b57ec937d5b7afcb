"""Putting records into the order of their frames, per camera: what may go, what waits, what is given up on.

Workers commit out of order, and a frame whose worker died comes a lease later. So a record is held until
every frame before it has come, is accounted for by a range record, or is known to be lost. That takes a time
at most, and a number of bytes at most; then the gap itself becomes a record, of status `missing`, and the
camera goes on.

A run waits for the end of the run before it, if anything of that was seen. What comes after its turn, and
what comes a second time (Redis may forget a commit in a crash), is let go of.

Pure: a clock and data in, records out. Not for: Redis (see `resultreader.py`), cursors' text (see
`cursor.py`).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kinestream.cursor import EntryId, Position, position_text
from kinestream.messages import PoseResult, Status

NOT_IN_TIME = "not-in-time"
"""Cause of a gap that stayed open for the whole wait."""

HELD_TOO_MUCH = "held-too-much"
"""Cause of a gap that was given up on since the records behind it took too many bytes."""

END_NOT_IN_TIME = "end-not-in-time"
"""Cause of the record in place of the rest of a run, `end` included; how many frames that was is unknown."""

REDIS_LOST_MEMORY = "redis-lost-memory"
"""Cause of a gap that cannot close, since Redis lost the frames or their records."""

_FORGET_MS = 3600 * 1000
"""How long a camera's position is kept after its run has ended: with a camera a video file, cursors would
grow for ever."""

_NOWHERE = Position(0, 0, begun=False)


@dataclass(slots=True)
class _Held:
    result: PoseResult
    entry: EntryId
    size: int
    since_ms: float


@dataclass(slots=True)
class _Line:
    """The records of one camera that wait for their turn, as a heap by (run, seq, is end, arrival)."""

    heap: list[tuple[int, int, bool, int]] = field(default_factory=list)
    lost_from: dict[int, int] = field(default_factory=dict)  # run -> the first frame that may never come
    unblocked: bool = False  # nothing that is not here will come


class Reorderer:
    """Holds records until their turn. Call `add` for one record, then `release` until it returns None.

    `wait_ms` is how long a record may be held, on the caller's clock, and `max_bytes` how many bytes of
    packed records (in memory a record takes about five times as much). `positions` and `since_ms` are a
    cursor's.
    """

    def __init__(
        self,
        *,
        wait_ms: float,
        max_bytes: int,
        since_ms: int = 0,
        positions: Mapping[str, Position] | None = None,
    ) -> None:
        self.positions: dict[str, Position] = {}
        self.since_ms = since_ms
        self._wait_ms = wait_ms
        self._max_bytes = max_bytes
        self._lines: dict[str, _Line] = {}
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._arrivals = 0
        self._bytes = 0
        self._ready: list[str] = []  # cameras that may have a record to release
        self._ended: OrderedDict[str, float] = OrderedDict()  # camera -> when its run ended
        self._marks: dict[str, str] = {}
        for camera, position in (positions or {}).items():
            self._move(camera, position)
            self._lines[camera] = _Line()

    @property
    def oldest(self) -> EntryId | None:
        """The entry that was read first among those held; None if none is."""
        return next(iter(self._held.values())).entry if self._held else None

    @property
    def due_ms(self) -> float | None:
        """When the next gap is to be given up on, on the caller's clock; None if nothing is held."""
        return next(iter(self._held.values())).since_ms + self._wait_ms if self._held else None

    @property
    def marks(self) -> str:
        """The positions of all cameras as a cursor tells them."""
        return "".join(self._marks.values())

    def add(self, result: PoseResult, entry: EntryId, size: int, now_ms: float) -> None:
        """Take in a record of `size` packed bytes, unless its turn is over; then `release` may have some."""
        if _is_over(result, self.positions.get(result.camera, _NOWHERE)):
            return
        line = self._lines.setdefault(result.camera, _Line())
        self._held[self._arrivals] = _Held(result, entry, size, now_ms)
        heapq.heappush(line.heap, (result.run, result.seq, result.status == "end", self._arrivals))
        self._arrivals += 1
        self._bytes += size
        if result.lost_from is not None:
            line.lost_from[result.run] = result.lost_from
        self._ready.append(result.camera)

    def unblock(self) -> None:
        """Give up on everything that is not here: Redis came back empty, and none of it can come."""
        for camera, line in self._lines.items():
            line.unblocked = True
            self._ready.append(camera)

    def release(self, now_ms: float) -> PoseResult | None:
        """Return the next record that may go, or that tells of a gap given up on; None if all must wait."""
        while True:
            while self._ready:
                if result := self._advance(self._ready[-1], now_ms):
                    return result
                self._ready.pop()
            if not self._held:
                return None
            oldest = next(iter(self._held.values()))
            if now_ms - oldest.since_ms >= self._wait_ms:
                cause = NOT_IN_TIME
            elif self._bytes > self._max_bytes:
                cause = HELD_TOO_MUCH
            else:
                return None
            self._ready.append(oldest.result.camera)
            return self._give_up(oldest.result.camera, cause)

    def _advance(self, camera: str, now_ms: float) -> PoseResult | None:
        """Release the camera's first record if it is its turn; let go of those whose turn is over."""
        line = self._lines.get(camera)
        if line is None:  # forgotten, since it ended long ago
            return None
        while line.heap:
            run, seq, is_end, arrival = line.heap[0]
            position = self.positions.get(camera, _NOWHERE)
            if _is_over(self._held[arrival].result, position):
                self._take(line)
                continue
            if run > position.run:
                if position.begun and not line.unblocked:
                    return None
                self._begin(camera)
                continue
            expected = seq if position.seq is None else position.seq
            if not position.begun:
                self._move(camera, Position(run, expected))
            if is_end and expected >= seq:
                return self._end(camera, now_ms)
            if not is_end and seq <= expected:
                result = self._take(line)
                self._move(camera, Position(run, result.last + 1))
                return result if seq == expected else replace(result, seq=expected)
            if line.unblocked or expected >= line.lost_from.get(run, expected + 1):
                self._move(camera, Position(run, seq))
                return _gap(camera, run, expected, seq - 1, "lost", REDIS_LOST_MEMORY)
            return None
        if line.unblocked:
            line.unblocked = False
            self._move(camera, self.positions[camera]._replace(begun=False))
        return None

    def _give_up(self, camera: str, cause: str) -> PoseResult:
        """Move a camera that waits to its first record, or to its first lost frame before that."""
        line = self._lines[camera]
        run, seq, *_ = line.heap[0]
        position = self.positions[camera]
        expected = position.seq or 0  # None waits for nothing
        if run > position.run:
            self._begin(camera)
            return _gap(camera, position.run, expected, expected, "missing", END_NOT_IN_TIME)
        until = min(seq, line.lost_from.get(run, seq))
        self._move(camera, Position(run, until))
        return _gap(camera, run, expected, until - 1, "missing", cause)

    def _begin(self, camera: str) -> None:
        """Go on to the run of the camera's first record."""
        line = self._lines[camera]
        run, seq, *_ = line.heap[0]
        line.lost_from = {other: seq for other, seq in line.lost_from.items() if other >= run}
        # A run's number is not below the second in which it began, so that this one began after `since_ms`.
        whole = run * 1000 >= self.since_ms
        self._move(camera, Position(run, 0 if whole else seq))

    def _end(self, camera: str, now_ms: float) -> PoseResult:
        end = self._take(self._lines[camera])
        self._move(camera, Position(end.run + 1, 0, begun=False))
        self._ended.pop(camera, None)  # the last to end stands last
        self._ended[camera] = now_ms
        for ended, since_ms in list(self._ended.items()):
            if ended == camera or now_ms - since_ms < _FORGET_MS:
                break  # the others ended later
            for known in (self._ended, self._lines, self.positions, self._marks):
                del known[ended]
        return end

    def _move(self, camera: str, position: Position) -> None:
        self.positions[camera] = position
        self._marks[camera] = position_text(camera, position)
        self._ended.pop(camera, None)

    def _take(self, line: _Line) -> PoseResult:
        held = self._held.pop(heapq.heappop(line.heap)[3])
        self._bytes -= held.size
        return held.result


def _is_over(result: PoseResult, position: Position) -> bool:
    """Whether all that a record stands for was released, or given up on."""
    if result.run != position.run or position.seq is None:
        return result.run < position.run
    return result.status != "end" and result.last < position.seq


def _gap(camera: str, run: int, seq: int, last: int, status: Status, cause: str) -> PoseResult:
    seq_to = last if last > seq else None
    return PoseResult(camera=camera, run=run, seq=seq, seq_to=seq_to, status=status, cause=cause)
