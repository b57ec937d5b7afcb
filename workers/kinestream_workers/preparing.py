"""From held frames to a batch that is ready for the engine, on a small pool of threads.

Here messages are unpacked, stale frames are put aside, and images are decoded and letterboxed into a tensor
that is used again and again. Not for: how one image is decoded (see `preprocess.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import MessageError, UnsupportedVersion
from kinestream.groupconsumer import Held, Outcome
from kinestream.messages import Frame
from kinestream_workers import outcomes
from kinestream_workers.preprocess import Letterbox, fill_slot
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
    letterbox: Letterbox
    decoded_ms: float


@dataclass(frozen=True, slots=True)
class Batch:
    """`images[i]` lies in `tensor[i]`; `settled` are the frames that need no engine: stale or undecodable.

    On `again`, which failed in a way that may be this machine's fault, another attempt shall be made.
    """

    tensor: NDArray[np.float32]
    images: Sequence[Ready]
    settled: Sequence[Outcome]
    again: Sequence[Held] = ()

    @property
    def frames(self) -> int:
        """How many frames it was cut from."""
        return len(self.images) + len(self.settled) + len(self.again)


class Preparer:
    """Prepares batches on `settings.decode_threads` threads."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")

    async def prepare(self, frames: Sequence[Taken], tensor: NDArray[np.float32]) -> Batch:
        """Fill `tensor` [≥ len(frames), 3, H, W] from the front.

        Raises `UnsupportedVersion` if one of the messages is newer than this program; nothing is settled
        then.
        """
        loop = asyncio.get_running_loop()
        slots = [
            loop.run_in_executor(self._pool, self._prepare_one, taken, tensor[slot])
            for slot, taken in enumerate(frames)
        ]
        prepared = await asyncio.gather(*slots)
        images: list[Ready] = []
        settled: list[Outcome] = []
        again: list[Held] = []
        for slot, outcome in enumerate(prepared):
            if isinstance(outcome, Outcome):
                settled.append(outcome)
                continue
            if isinstance(outcome, Held):
                again.append(outcome)
                continue
            if slot != len(images):  # close the hole that a settled frame has left
                tensor[len(images)] = tensor[slot]
            images.append(outcome)
        return Batch(tensor, images, settled, again)

    def _prepare_one(self, taken: Taken, slot: NDArray[np.float32]) -> Ready | Outcome | Held:
        begun_s = time.monotonic()
        held, worker = taken.held, self._settings.name
        frame = None
        try:
            if held.deliveries > self._settings.max_deliveries:
                gone = RuntimeError(f"no worker told the outcome of {held.deliveries - 1} deliveries")
                return outcomes.failed(held, None, outcomes.GIVEN_UP, gone, worker=worker)
            frame = Frame.unpack(held.packed)
            if (frame.camera, frame.run, frame.seq) != (held.camera, held.run, held.seq):
                raise MessageError(f"the message says it is {frame.camera} {frame.run}-{frame.seq}")
            if frame.lane == "live" and taken.age_ms() > self._settings.max_age_ms:
                return outcomes.stale(held, frame, worker=worker)
            letterbox = fill_slot(frame, slot)
        except UnsupportedVersion:
            raise
        except MessageError as error:
            return outcomes.failed(held, frame, outcomes.UNDECODABLE, error, worker=worker)
        except Exception as error:  # a bug, or no memory: one frame must not end every worker that takes it
            _log.exception("%s %s cannot be prepared", held.camera, held.id)
            if held.deliveries < self._settings.max_attempts:
                return held
            return outcomes.failed(held, frame, outcomes.UNPREPARED, error, worker=worker)
        return Ready(taken, frame, letterbox, (time.monotonic() - begun_s) * 1000)

    def close(self) -> None:
        """End the threads once they have finished what they are at."""
        self._pool.shutdown(wait=False)
