"""From held frames to a batch that is ready for the engine, on a small pool of threads.

Here messages are unpacked, stale frames are put aside, and images are decoded and put into the engine's
memory, which is used again and again. Not for: how one image is decoded (see `decoding.py`), nor what a batch
is (`batches.py`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from kinestream.errors import KinestreamError, MessageError, UnsupportedVersion
from kinestream.held import Held
from kinestream.logs import about
from kinestream.messages import Frame
from kinestream_workers import outcomes
from kinestream_workers.batches import Batch, Preparing, Ready, Slot, Taken
from kinestream_workers.countdown import Stuck
from kinestream_workers.decoding import decode
from kinestream_workers.engines import Engine
from kinestream_workers.engines.engine import EngineHangs
from kinestream_workers.settings import WorkerSettings

_log = logging.getLogger(__name__)


LARGE_PIXELS = 10_000_000
"""Beyond 4K (8.8 million at most), whose decoding takes as long as a batch or two. What is larger is decoded
aside."""


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
        self._todo: queue.SimpleQueue[tuple[Preparing, int] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"decode-{number}", daemon=True)
            for number in range(settings.decode_threads)
        ]
        for thread in self._threads:
            thread.start()
        self._under_way: deque[Preparing] = deque()
        self._hangs = False

    def begin(self, frames: Sequence[Taken], memory: Any) -> Preparing:
        """Have the engine's memory of a batch filled, a slot for each frame."""
        preparing = Preparing(frames, memory)
        for slot in range(len(frames)):
            self._todo.put((preparing, slot))
        self._under_way.append(preparing)
        return preparing

    async def ended(self, preparing: Preparing) -> Batch:
        """Wait for the batch that was begun first of those that are under way.

        Raises `UnsupportedVersion` if one of the messages is newer than this program, or whatever else no
        frame may be blamed for; nothing is settled then. Raises `EngineHangs` when nothing gets on for
        `engine_timeout_s`.
        """
        await self._wait(preparing)
        self._under_way.remove(preparing)
        if preparing.error is not None:
            raise preparing.error
        assert preparing.batch is not None, "it is over"
        return preparing.batch

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

    def _serve(self) -> None:
        while (todo := self._todo.get()) is not None:
            preparing, slot = todo
            try:
                outcome: Slot | BaseException = self._prepare_one(
                    preparing.frames[slot], preparing.memory, slot
                )
            except BaseException as error:  # too new a message, or whatever would end a thread in silence
                outcome = error
            preparing.settle(slot, outcome)
            del todo, preparing, outcome  # a large picture has 150 MB, and the next one may be a while

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

    async def _wait(self, preparing: Preparing) -> None:
        try:
            await preparing.at_work.wait(self._settings.engine_timeout_s)
        except Stuck:
            self._hangs = True
            what, timeout_s = f"taking in {preparing.at_work.left} frames", self._settings.engine_timeout_s
            raise EngineHangs(f"the engine is at {what} for over {timeout_s:g} s: giving up") from None

    async def close(self) -> None:
        """End the threads, and wait until nothing is on its way into the engine, so that it may be closed.

        What is known to hang is not waited for; raises `EngineHangs` for what turns out to.
        """
        with contextlib.suppress(queue.Empty):
            while todo := self._todo.get_nowait():
                preparing, slot = todo
                preparing.settle(slot, KinestreamError("the worker is told to end"))
        for _ in self._threads:
            self._todo.put(None)
        if not self._hangs:
            for preparing in self._under_way:
                await self._wait(preparing)
