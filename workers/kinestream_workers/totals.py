"""What a worker has committed since its start, by status, stage and size of batch.

Counted on the event loop and read from another thread. Not for: the recent past (`reporting.py`), nor how it
is told (`metrics.py`).
"""

from __future__ import annotations

from collections import Counter

from kinestream.messages import PoseResult
from kinestream.metrics.cumulative import Cumulative
from kinestream.workerreports import STAGES


class Totals:
    """Counters that only grow.

    `frames` are by status and cause (empty for `ok`), `stages` are of frames that became `ok`, `inferred` are
    frames by the number of frames that were inferred with them, themselves included.
    """

    def __init__(self) -> None:
        self.frames: Counter[tuple[str, str]] = Counter()
        self.inferred: Counter[int] = Counter()
        self.stages = {stage: Cumulative() for stage in STAGES}

    @property
    def committed(self) -> int:
        """Frames of every outcome."""
        return self.frames.total()

    @property
    def batches(self) -> float:
        """Batches that were inferred; each frame is its part of one, since some of a batch may not count."""
        return sum(frames / max(1, size) for size, frames in self.inferred.items())

    def add(self, result: PoseResult) -> None:
        """Count a record that was just committed."""
        self.frames[result.status, result.cause] += 1
        if result.status != "ok":
            return
        self.inferred[result.batch] += 1
        for stage, ms in result.timings.items():
            if stage in self.stages:
                self.stages[stage].add(ms)
        self.stages[STAGES[-1]].add(sum(result.timings.values()))
