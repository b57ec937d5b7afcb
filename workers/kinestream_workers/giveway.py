"""Complete sources give way to live cameras: while those are at work, nothing of an upload is taken early.

A live frame cannot overtake what a worker holds. So an upload's frames, which lose nothing by waiting, are
taken only when the engine is about to have nothing else, and only a few at a time; they do not fill up the
batches of live frames either. What is left in a live frame's way is what happens to be in the engine. Every
`FLOOR_OF`-th frame is the upload's all the same, whenever its turn comes. When no live frame has come for a
while, uploads have the worker for themselves, in full batches.

Pure: it is told the time, of any monotonic clock. Not for: ranks and shares (see `kinestream.turns`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kinestream.groupconsumer import Held
from kinestream.turns import FLOOR_OF, Turns, Wishes

AT_WORK_S = 2.0
"""A live camera is at work for so long after each frame that this worker got of it."""


class GiveWay:
    """Of one worker: who gives way now, the `turns` of those, and whether a frame is owed to them."""

    def __init__(self) -> None:
        self.turns = Turns()
        self._live_until_s: dict[str, float] = {}
        self._taken = 0  # frames, less those for which somebody behind has had a turn

    def split(
        self, cameras: Sequence[str], wishes: Mapping[str, Wishes], now_s: float
    ) -> tuple[list[str], list[str]]:
        """Cameras that are served first, and complete sources that stand behind every live camera at work.

        The latter is empty when no live camera is.
        """
        self._live_until_s = {camera: s for camera, s in self._live_until_s.items() if s > now_s}
        at_work = [wishes[camera].rank for camera in self._live_until_s if camera in wishes]
        if not at_work:
            return list(cameras), []
        last = max(at_work)
        behind = [
            camera
            for camera in cameras
            if camera in wishes and wishes[camera].lane != "live" and wishes[camera].rank > last
        ]
        return [camera for camera in cameras if camera not in behind], behind

    def owed(self) -> bool:
        """Whether it is time for a frame of those who give way; asking takes the turn."""
        if self._taken < FLOOR_OF - 1:
            return False
        self._taken -= FLOOR_OF
        return True

    def took(self, held: Sequence[Held], wishes: Mapping[str, Wishes], now_s: float) -> None:
        """Tell what a take brought."""
        for frame in held:
            known = wishes.get(frame.camera)
            if known is None or known.lane == "live":
                self._live_until_s[frame.camera] = now_s + AT_WORK_S
            self._taken += not frame.late
