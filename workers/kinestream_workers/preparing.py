"""From held frames to a batch that is ready for the engine, on a small pool of threads.

Here messages are unpacked, stale frames are put aside, and images are decoded and put into the engine's
memory, which is used again and again. Not for: how one image is decoded (see `decoding.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from kinestream.errors import MessageError, UnsupportedVersion
from kinestream.groupconsumer import Held, Outcome
from kinestream.logs import about
from kinestream.messages import Frame
from kinestream_workers import outcomes
from kinestream_workers.decoding import decode
from kinestream_workers.engines import Engine
from kinestream_workers.settings import WorkerSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """A held frame and when it was taken, on the monotonic clock in seconds."""

    held: Held
    taken_s: float

    def age_ms(self) -> float:
        """Time since it was offered: up to the take on Redis's clock, from then on on this process's."""
        return self.held.queued_ms + (time.monotonic() - self.taken_s) * 1000


@dataclass(frozen=True, slots=True)
class Ready:
    """One image in its slot of the batch."""

    taken: Taken
    frame: Frame
    slot: int
    decoded_ms: float


@dataclass(frozen=True, slots=True)
class Batch:
    """`images` lie in their slots of the engine's `memory`; `settled` are the frames that need no engine:
    stale or undecodable.

    On `again`, which failed in a way that may be this machine's fault, another attempt shall be made.
    """

    memory: Any
    images: Sequence[Ready]
    settled: Sequence[Outcome]
    again: Sequence[Held] = ()

    @property
    def frames(self) -> int:
        """How many frames it was cut from."""
        return len(self.images) + len(self.settled) + len(self.again)


class Preparer:
    """Prepares batches for an engine on `settings.decode_threads` threads."""

    def __init__(self, engine: Engine, settings: WorkerSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._failed = partial(outcomes.failed, worker=settings.name, model=engine.name)
        self._pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")

    async def prepare(self, frames: Sequence[Taken], memory: Any) -> Batch:
        """Fill the engine's memory of a batch, a slot for each frame.

        Raises `UnsupportedVersion` if one of the messages is newer than this program; nothing is settled
        then.
        """
        loop = asyncio.get_running_loop()
        slots = [
            loop.run_in_executor(self._pool, self._prepare_one, taken, memory, slot)
            for slot, taken in enumerate(frames)
        ]
        prepared = await asyncio.gather(*slots)
        images: list[Ready] = []
        settled: list[Outcome] = []
        again: list[Held] = []
        for outcome in prepared:
            match outcome:
                case Ready():
                    images.append(outcome)
                case Outcome():
                    settled.append(outcome)
                case Held():
                    again.append(outcome)
        return Batch(memory, images, settled, again)

    def _prepare_one(self, taken: Taken, memory: Any, slot: int) -> Ready | Outcome | Held:
        begun_s = time.monotonic()
        held, failed = taken.held, self._failed
        frame = None
        try:
            if held.deliveries > self._settings.max_deliveries:
                gone = RuntimeError(f"no worker told the outcome of {held.deliveries - 1} deliveries")
                return failed(held, None, outcomes.GIVEN_UP, gone)
            frame = Frame.unpack(held.packed)
            if (frame.camera, frame.run, frame.seq) != (held.camera, held.run, held.seq):
                raise MessageError(f"the message says it is {frame.camera} {frame.run}-{frame.seq}")
            if frame.lane == "live" and taken.age_ms() > self._settings.max_age_ms:
                return outcomes.stale(held, frame, worker=self._settings.name)
            self._engine.fill(memory, slot, decode(frame))
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
        return Ready(taken, frame, slot, (time.monotonic() - begun_s) * 1000)

    def close(self) -> None:
        """End the threads once they have finished what they are at."""
        self._pool.shutdown(wait=False)
