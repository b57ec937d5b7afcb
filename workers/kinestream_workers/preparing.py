"""From held frames to a batch that is ready for the engine, on a small pool of threads.

Here messages are unpacked, stale frames are put aside, and images are decoded and put into the engine's
memory, which is used again and again. Not for: how one image is decoded (see `decoding.py`).
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from kinestream.errors import MessageError, UnsupportedVersion
from kinestream.groupconsumer import Held, Outcome
from kinestream.logs import about
from kinestream.messages import Frame
from kinestream_workers import outcomes
from kinestream_workers.countdown import Countdown, Stuck
from kinestream_workers.decoding import decode
from kinestream_workers.engines import Engine, Image
from kinestream_workers.engines.engine import EngineHangs
from kinestream_workers.settings import WorkerSettings

_log = logging.getLogger(__name__)


LARGE_PIXELS = 10_000_000
"""Beyond 4K (8.8 million at most), whose decoding takes as long as a batch or two. What is larger is decoded
aside."""


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
    """A batch that is being prepared; made by `Preparer.begin`."""

    def __init__(self, frames: Sequence[Taken], memory: Any, slots: Sequence[Future[Slot]]) -> None:
        self.frames = frames
        self.memory = memory
        self.slots = slots


class Preparer:
    """Prepares batches for an engine on `settings.decode_threads` threads."""

    def __init__(
        self, engine: Engine, settings: WorkerSettings, age_limit_ms: Callable[[str], float | None]
    ) -> None:
        """`age_limit_ms` is what a camera wished by its name; None is what this worker was told."""
        self._engine = engine
        self._settings = settings
        self._age_limit_ms = age_limit_ms
        self._failed = partial(outcomes.failed, worker=settings.name, model=engine.name)
        self._pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self._under_way: deque[Preparing] = deque()
        self._hangs = False

    def begin(self, frames: Sequence[Taken], memory: Any) -> Preparing:
        """Have the engine's memory of a batch filled, a slot for each frame."""
        slots = [
            self._pool.submit(self._prepare_one, taken, memory, slot) for slot, taken in enumerate(frames)
        ]
        preparing = Preparing(frames, memory, slots)
        self._under_way.append(preparing)
        return preparing

    async def ended(self, preparing: Preparing) -> Batch:
        """Wait for the batch that was begun first of those that are under way.

        Raises `UnsupportedVersion` if one of the messages is newer than this program; nothing is settled
        then. Raises `EngineHangs` when nothing gets on for `engine_timeout_s`.
        """
        await self._filled(preparing)
        self._under_way.remove(preparing)
        images: list[Ready] = []
        settled: list[Outcome] = []
        again: list[Held] = []
        aside: list[Taken] = []
        for slot in preparing.slots:
            match outcome := slot.result():
                case Ready():
                    images.append(outcome)
                case Outcome():
                    settled.append(outcome)
                case Held():
                    again.append(outcome)
                case Taken():
                    aside.append(outcome)
        return Batch(preparing.memory, images, settled, again, aside)

    def without_stale(self, batch: Batch) -> Batch:
        """The same batch, but for the images that have grown too old while it waited for the engine."""
        images, settled = [], [*batch.settled]
        for image in batch.images:
            if self.is_stale(image.held, image.frame):
                settled.append(outcomes.stale(image.held, image.frame, worker=self._settings.name))
            else:
                images.append(image)
        return replace(batch, images=images, settled=settled)

    def is_stale(self, held: Held, frame: Frame) -> bool:
        """Whether it is live, and too old to be shown to anybody."""
        if frame.lane != "live":
            return False
        wished = self._age_limit_ms(held.camera)
        return held.age_ms() > (self._settings.max_age_ms if wished is None else wished)

    def _prepare_one(self, taken: Taken, memory: Any, slot: int) -> Slot:
        begun_s = time.monotonic()
        held, frame, failed = taken.held, taken.frame, self._failed
        try:
            if held.deliveries > self._settings.max_deliveries:
                gone = RuntimeError(f"no worker told the outcome of {held.deliveries - 1} deliveries")
                return failed(held, None, outcomes.GIVEN_UP, gone)
            if frame is None:
                frame = Frame.unpack(held.packed)
            if (frame.camera, frame.run, frame.seq) != (held.camera, held.run, held.seq):
                raise MessageError(f"the message says it is {frame.camera} {frame.run}-{frame.seq}")
            if self.is_stale(held, frame):
                return outcomes.stale(held, frame, worker=self._settings.name)
            if taken.error is not None:
                raise taken.error
            if taken.frame is None and math.prod(frame.encoded_size()) > LARGE_PIXELS:
                return replace(taken, frame=frame)
            self._engine.fill(memory, slot, decode(frame) if taken.image is None else taken.image)
        except UnsupportedVersion:
            raise
        except MessageError as error:
            return failed(held, frame, outcomes.UNDECODABLE, error)
        except Exception as error:  # a bug, or no memory: one frame must not end every worker that takes it
            what = about(held.camera, held.run, held.seq)
            _log.exception("%s %s cannot be prepared", held.camera, held.id, extra=what)
            if held.deliveries < self._settings.max_attempts:
                return held
            return failed(held, frame, outcomes.UNPREPARED, error)
        return Ready(held, frame, slot, taken.decoded_ms + (time.monotonic() - begun_s) * 1000)

    async def _filled(self, preparing: Preparing) -> None:
        at_work = Countdown([slot for slot in preparing.slots if not slot.done()])
        try:
            await at_work.wait(self._settings.engine_timeout_s)
        except Stuck:
            self._hangs = True
            raise EngineHangs(
                f"the engine is at taking in {at_work.left} frames for over "
                f"{self._settings.engine_timeout_s:g} s: giving up"
            ) from None

    async def close(self) -> None:
        """End the threads, and wait until nothing is on its way into the engine, so that it may be closed.

        What is known to hang is not waited for; raises `EngineHangs` for what turns out to.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        if not self._hangs:
            for preparing in self._under_way:
                await self._filled(preparing)
