"""Made-up records of several cameras and runs, in every order in which workers and producers may commit them.

For the tests of what subscribers get. Not for: Redis; there the scripts make the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from kinestream.messages import PoseResult, Status

Name = tuple[str, int, int, int, str]
"""camera, run, first seq, last seq, status"""


def record(
    seq: int, last: int | None = None, status: Status = "ok", *, camera: str = "a", run: int = 1, **more: Any
) -> PoseResult:
    """A record of frame `seq`, or of `seq` to `last`; run 1 of camera a unless said otherwise."""
    return PoseResult(camera=camera, run=run, seq=seq, seq_to=last, status=status, **more)


def end(frames: int, *, camera: str = "a", run: int = 1, lost_from: int | None = None) -> PoseResult:
    """The `end` of a run of that many frames."""
    return PoseResult(camera=camera, run=run, seq=frames, status="end", lost_from=lost_from)


def name(result: PoseResult) -> Name:
    """What tells one record from another here."""
    return result.camera, result.run, result.seq, result.last, result.status


def names(results: Iterable[PoseResult]) -> list[Name]:
    """The names of records, in their order."""
    return list(map(name, results))


def of_camera(results: Iterable[PoseResult], camera: str) -> list[PoseResult]:
    """The records of one camera, in their order."""
    return [result for result in results if result.camera == camera]


def frames_of(results: Iterable[PoseResult], camera: str, run: int) -> list[int]:
    """The frames of a run that records stand for, in the order of the records."""
    return [
        seq
        for result in results
        if (result.camera, result.run) == (camera, run) and result.status != "end"
        for seq in range(result.seq, result.last + 1)
    ]


@dataclass(frozen=True)
class Scenario:
    """`committed`: records in the order of commit. `runs`: (camera, run) -> number of frames."""

    committed: tuple[PoseResult, ...]
    runs: dict[tuple[str, int], int]

    @property
    def cameras(self) -> list[str]:
        """All cameras, in alphabetical order."""
        return sorted({camera for camera, _ in self.runs})

    def in_order(self, camera: str) -> list[PoseResult]:
        """The camera's records in the order of its frames."""
        mine = of_camera(self.committed, camera)
        return sorted(mine, key=lambda result: (result.run, result.seq, result.status == "end"))


@st.composite
def scenarios(draw: st.DrawFn, *, cameras: Sequence[str] = ("a", "b"), max_frames: int = 6) -> Scenario:
    """Any interleaving that the scripts allow: a run begins once the run before it has its `end`."""
    runs: dict[tuple[str, int], int] = {}
    queues: list[list[list[PoseResult]]] = []  # a camera: a run: its records
    for camera in cameras:
        queue = []
        for run in sorted(draw(st.sets(st.integers(1, 9), min_size=1, max_size=3))):
            runs[camera, run] = frames = draw(st.integers(0, max_frames))
            records = []
            seq = 0
            while seq < frames:
                last = draw(st.integers(seq, min(seq + 3, frames - 1))) if draw(st.booleans()) else seq
                status: Status = "ok" if last == seq else "dropped"
                records.append(record(seq, last if last > seq else None, status, camera=camera, run=run))
                seq = last + 1
            queue.append([*records, end(frames, camera=camera, run=run)])
        queues.append(queue)
    committed: list[PoseResult] = []
    while choices := [result for queue in queues for result in _possible(queue)]:
        chosen = choices[draw(st.integers(0, len(choices) - 1))]
        committed.append(chosen)
        for queue in queues:
            for records in queue:
                if any(chosen is result for result in records):
                    records[:] = [result for result in records if result is not chosen]
    return Scenario(tuple(committed), runs)


def _possible(queue: list[list[PoseResult]]) -> list[PoseResult]:
    """The records of one camera that may be committed next."""
    possible: list[PoseResult] = []
    for records in queue:
        possible += records
        if any(result.status == "end" for result in records):
            break  # the next run has not begun
    return possible
