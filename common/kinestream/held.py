"""A frame that a worker holds, and what became of it.

Not for: taking frames and telling their outcomes (see `groupconsumer.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kinestream.messages import PoseResult, Status

OUTCOMES: tuple[Status, ...] = ("ok", "stale", "failed", "dropped")
"""What can become of a held frame."""


@dataclass(frozen=True, slots=True)
class Held:
    """A frame that this worker holds. Its name comes from the stream, so it is known even if `packed` is
    garbage.

    One that is `late` is to be dropped: `packed` is the record of that, made beforehand by its producer.
    `deliveries` counts this one; `queued_ms` is the time from offer to take on Redis's clock. `taken_s`, on
    this process's monotonic clock, is no later than that take: who was frozen may read of it long after.
    """

    camera: str
    run: int
    seq: int
    packed: bytes
    deliveries: int
    queued_ms: float
    taken_s: float = field(default_factory=time.monotonic, compare=False)
    late: bool = False

    @property
    def id(self) -> str:
        """Id of the entry in the camera's frames stream."""
        return f"{self.run}-{self.seq}"

    def age_ms(self) -> float:
        """Time since it was offered: up to the take on Redis's clock, from then on on this process's."""
        return self.queued_ms + (time.monotonic() - self.taken_s) * 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a held frame; with status `failed`, `error` and `traceback` go to the dead letters.

    `result.cause` is a name out of few, such as `undecodable`: the ledger counts by it. What differs from
    frame to frame belongs into `error`. Raises `ValueError` if the result is not one frame's outcome, or
    another frame's.
    """

    held: Held
    result: PoseResult
    error: str = ""
    traceback: str = ""

    def __post_init__(self) -> None:
        """Check that the result stands for the held frame alone: the ledger counts what it says."""
        held, result = self.held, self.result
        if result.status not in OUTCOMES:
            raise ValueError(f"the outcome of a frame is one of {', '.join(OUTCOMES)}, got {result.status}")
        if (result.camera, result.run, result.seq, result.last) != (
            held.camera,
            held.run,
            held.seq,
            held.seq,
        ):
            raise ValueError(
                f"the result of {held.camera} {held.id} names {result.camera} {result.run}-{result.seq}"
            )
