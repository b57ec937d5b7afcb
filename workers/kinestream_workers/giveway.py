"""Complete sources give way to live cameras: while those are at work, little of an upload is taken early.

A live frame cannot overtake what a worker holds. So an upload's frames, which lose nothing by waiting, are
taken only when the engine is about to have nothing else, and only a few at a time; without a latency target
they do not fill up the batches of live frames either. What is left in a live frame's way is the image that
happens to be in the engine, or that goes in next. Every `FLOOR_OF`-th frame is the upload's all the same:
what it does not get by itself is taken out of turn. When no live frame has come for a while, uploads have the
worker for themselves, in full batches.

Pure: it is told the time, of any monotonic clock. Not for: ranks and shares (see `kinestream.turns`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kinestream.held import Held
from kinestream.turns import FLOOR_OF, Turns, Wishes

AT_WORK_S = 2.0
"""A live camera is at work for so long after each frame that this worker got of it."""


class GiveWay:
    """Of one worker: who gives way now, the `turns` of those, and whether a frame is owed to them.

    For each take `split`, and afterwards `took`; `had_nothing` if one of what was `owed` brought none.
    """

    def __init__(self) -> None:
        self.turns = Turns()
        self._live_until_s: dict[str, float] = {}
        self._behind: frozenset[str] = frozenset()
        self._ahead = 0  # frames that went before those behind, and that no frame of theirs has made up for

    def split(
        self, cameras: Sequence[str], wishes: Mapping[str, Wishes], now_s: float
    ) -> tuple[list[str], list[str]]:
        """Cameras that are served first, and complete sources that stand behind every live camera at work.

        The latter is empty when no live camera is.
        """
        self._live_until_s = {camera: s for camera, s in self._live_until_s.items() if s > now_s}
        at_work = [wishes[camera].rank for camera in self._live_until_s if camera in wishes]
        behind: list[str] = []
        if at_work:
            last = max(at_work)
            behind = [
                camera
                for camera in cameras
                if camera in wishes and wishes[camera].lane != "live" and wishes[camera].rank > last
            ]
        self._behind = frozenset(behind)
        if not behind:
            self._ahead = 0
        return [camera for camera in cameras if camera not in self._behind], behind

    def owed(self) -> bool:
        """Whether it is time for a frame of those who give way."""
        return self._ahead >= FLOOR_OF - 1

    def had_nothing(self) -> None:
        """Tell that those who give way had no frame when one was owed to them; they do not save it up."""
        self._ahead = 0

    def took(self, held: Sequence[Held], wishes: Mapping[str, Wishes], now_s: float) -> None:
        """Tell what a take brought, of those that were split before it."""
        for frame in held:
            known = wishes.get(frame.camera)
            if known is None or known.lane == "live":
                self._live_until_s[frame.camera] = now_s + AT_WORK_S
            if frame.camera in self._behind:
                self._ahead = max(0, self._ahead - (FLOOR_OF - 1))
            elif self._behind and not frame.late:
                self._ahead += 1
