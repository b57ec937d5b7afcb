"""Pictures of several cameras in the order in which they were captured, however they come in.

Workers commit out of order, and one camera's frames may wait for seconds while another's are fresh. So a
picture is held until every camera that runs has been heard of up to that time, as long as memory allows: a
camera may be far behind, or its clock be wrong. Pure: records and bytes in, in order out. Not for: what is
shown when (see `film.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from kinestream.cursor import Cursor, EntryId
from kinestream.messages import PoseResult
from kinestream.reorder import Reorderer

WAIT_MS = 15_000
"""How long a frame may be missing before its camera goes on without it: a worker that died, twice."""

SILENT_MS = 10_000
"""A camera of which nothing was heard for this long is not waited for: off, unplugged, or never begun."""

PATIENT_BYTES = 64 * 2**20
"""Pictures held for the sake of order: ten seconds of two cameras of 1280×720 at 30 fps."""

MAX_BYTES = 96 * 2**20
"""Pictures held at all. A drawer that cannot keep up gets fewer of them, evenly, and not ever older ones."""

_NOWHERE = EntryId(0, 0)

Moment = tuple[PoseResult, bytes]
"""An `ok` result and its packed frame, or an `end` and nothing."""


class Timeline:
    """Holds pictures of `cameras` until it is their turn; `left_out` counts those that it had no room for.

    `start` says from where on records are given. Times are the caller's clock in milliseconds.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        start: Cursor,
        now_ms: float,
        *,
        patient_bytes: int = PATIENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.left_out = 0
        self._patient_bytes, self._max_bytes = patient_bytes, max_bytes
        # A cursor in the order of commit does not know the cameras: older runs begin with what comes first.
        since_ms = start.since_ms if start.ordered else start.following.ms
        self._reorderer = Reorderer(
            wait_ms=WAIT_MS, max_bytes=patient_bytes, since_ms=since_ms, positions=start.positions
        )
        self._pictures: dict[tuple[str, int, int], bytes] = {}
        self._bytes = 0
        self._queues: dict[str, deque[tuple[int, Moment]]] = {camera: deque() for camera in cameras}
        self._heard_us = dict.fromkeys(cameras, 0)
        self._heard_ms = dict.fromkeys(cameras, now_ms)
        self._ended: set[str] = set()

    def add(self, result: PoseResult, packed: bytes | None, now_ms: float) -> None:
        """Take in the next record of one of the cameras, with its packed frame if there is one."""
        self._heard_ms[result.camera] = now_ms
        position = self._reorderer.positions.get(result.camera)
        if position and (result.run, result.last) < (position.run, position.seq or 0):
            return  # it was given up on
        if packed and self._bytes + len(packed) > self._max_bytes:
            self.left_out += 1
        elif packed and _name(result) not in self._pictures:
            self._pictures[_name(result)] = packed
            self._bytes += len(packed)
        self._reorderer.add(result, _NOWHERE, len(packed or b""), now_ms)
        self.pass_time(now_ms)

    def pass_time(self, now_ms: float) -> None:
        """Give up on what has been missing for too long."""
        while result := self._reorderer.release(now_ms):
            self._line_up(result)
        if self._reorderer.oldest is None:
            # Of a frame that came twice, one may be left that nobody will ask for.
            self._bytes -= sum(map(len, self._pictures.values()))
            self._pictures.clear()

    def wait_no_longer(self, now_ms: float) -> None:
        """Give up on all that is missing: nothing more will be added."""
        self.pass_time(now_ms + WAIT_MS)

    def _line_up(self, result: PoseResult) -> None:
        camera = result.camera
        if result.status == "end":
            self._ended.add(camera)
            self._queues[camera].append((self._heard_us[camera], (result, b"")))
            return
        self._ended.discard(camera)
        if result.captured_us is None:
            return
        self._heard_us[camera] = result.captured_us
        packed = self._pictures.pop(_name(result), None)
        if packed:
            self._queues[camera].append((result.captured_us, (result, packed)))

    def pop(self, now_ms: float, *, patient: bool = True) -> Moment | None:
        """The next moment, if it is its turn; the next one at all unless `patient`."""
        heads = [(queue[0][0], camera) for camera, queue in self._queues.items() if queue]
        if not heads:
            return None
        time_us, camera = min(heads)
        patient = patient and self._bytes <= self._patient_bytes
        if patient and any(self._may_come_before(time_us, other, now_ms) for other in self._queues):
            return None
        _, moment = self._queues[camera].popleft()
        self._bytes -= len(moment[1])
        return moment

    def _may_come_before(self, time_us: int, camera: str, now_ms: float) -> bool:
        """Whether a picture of this camera may still come that was captured before `time_us`."""
        if self._queues[camera] or camera in self._ended or self._heard_us[camera] >= time_us:
            return False
        return now_ms - self._heard_ms[camera] < SILENT_MS


def _name(result: PoseResult) -> tuple[str, int, int]:
    return result.camera, result.run, result.seq
