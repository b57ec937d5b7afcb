"""A batch on its way: frames as they were taken, as they are prepared, and the batch that they become.

Not for: who prepares them (see `preparing.py`), nor the engine (see `inference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from kinestream.held import Held, Outcome
from kinestream.messages import Frame
from kinestream_workers.countdown import Countdown
from kinestream_workers.engines import Image


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A held frame on its way into a batch; with its `frame`, if it was too large to be decoded on that way.

    Then there is an `image`, or an `error` that it could not be decoded for; neither if it grew too old.
    """

    held: Held
    frame: Frame | None = None
    image: Image | None = None
    error: Exception | None = None
    decoded_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """One image in its slot of the batch."""

    held: Held
    frame: Frame
    slot: int
    decoded_ms: float


Slot = Ready | Outcome | Held | Taken
"""What becomes of a frame: an image, or settled without one, or to be tried again, or to be put aside."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`images` lie in their slots of the engine's `memory`; `settled` are the frames that need no engine:
    stale or undecodable.

    On `again`, which failed in a way that may be this machine's fault, another attempt shall be made. `aside`
    were too large, and are not a part of it.
    """

    memory: Any
    images: Sequence[Ready]
    settled: Sequence[Outcome]
    again: Sequence[Held] = ()
    aside: Sequence[Taken] = ()

    @property
    def frames(self) -> int:
        """How many frames are in it."""
        return len(self.images) + len(self.settled) + len(self.again)


class Preparing:
    """A batch that is being prepared, of `frames`; made by `Preparer.begin`.

    When `at_work` is over there is a `batch`; or an `error` that ends the worker, such as a message that is
    newer than this program.
    """

    def __init__(self, frames: Sequence[Taken], memory: Any) -> None:
        self.frames = frames
        self.memory = memory
        self.batch: Batch | None = None
        self.error: BaseException | None = None
        self._slots: list[Slot | None] = [None] * len(frames)
        self.at_work = Countdown(len(frames), self._fill)

    @classmethod
    def done(cls, batch: Batch) -> Self:
        """What is a batch already."""
        preparing = cls([], batch.memory)
        preparing.batch = batch
        return preparing

    def settle(self, slot: int, outcome: Slot | BaseException) -> None:
        """Tell what became of a frame, or the error that ends all; from any thread."""
        if isinstance(outcome, BaseException):
            self.error = outcome
        else:
            self._slots[slot] = outcome
        self.at_work.one_less()

    def _fill(self) -> None:
        images: list[Ready] = []
        settled: list[Outcome] = []
        again: list[Held] = []
        aside: list[Taken] = []
        for slot in self._slots:
            match slot:
                case Ready():
                    images.append(slot)
                case Outcome():
                    settled.append(slot)
                case Held():
                    again.append(slot)
                case Taken():
                    aside.append(slot)
        # They are in the engine's memory by now, and this is kept until the batch is done: one has 150 MB.
        self.frames = [
            replace(taken, image=None) if taken.image is not None else taken for taken in self.frames
        ]
        self._slots = []
        if self.error is None:
            self.batch = Batch(self.memory, images, settled, again, aside)
