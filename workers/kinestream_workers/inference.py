"""Runs batches through the engine on a thread of its own, and finds the frame that breaks a batch.

Not for: the engine itself (see `engines/`), nor for what is done with the outcomes.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError
from kinestream.groupconsumer import Held, Outcome
from kinestream.messages import Person
from kinestream_workers import outcomes
from kinestream_workers.engines import Engine
from kinestream_workers.preparing import Batch, Ready
from kinestream_workers.settings import WorkerSettings

_BROKEN_AFTER = 3
"""So many different frames that fail alone, with no success in between, say that it is not the frames."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """What came out of a batch: outcomes to commit, and frames on which another attempt shall be made."""

    outcomes: Sequence[Outcome]
    again: Sequence[Held]


class Inference:
    """One engine on one daemon thread: if the engine hangs, the process can still end."""

    def __init__(self, engine: Engine, settings: WorkerSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._failed_since_success: set[tuple[str, str]] = set()
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    async def run(self, batch: Batch) -> Inferred:
        """Infer one batch; if that fails, each of its images alone.

        Raises `EngineError` when image after image fails: then the engine is broken, and the frames are not.
        """
        if not batch.images:
            return Inferred(batch.settled, [])
        begun_s = time.monotonic()
        try:
            people = await self._infer(batch.tensor, batch.images)
        except EngineError as error:
            if len(batch.images) == 1:
                return self._failed_alone(batch, error)
            return await self._one_by_one(batch)
        self._failed_since_success.clear()
        inferred_ms = (time.monotonic() - begun_s) * 1000
        done = [
            self._ok(image, found, len(batch.images), begun_s, inferred_ms)
            for image, found in zip(batch.images, people, strict=True)
        ]
        return Inferred([*batch.settled, *done], [])

    async def _one_by_one(self, batch: Batch) -> Inferred:
        outcomes_: list[Outcome] = list(batch.settled)
        again: list[Held] = []
        for slot, image in enumerate(batch.images):
            alone = await self.run(Batch(batch.tensor[slot : slot + 1], [image], []))
            outcomes_ += alone.outcomes
            again += alone.again
        return Inferred(outcomes_, again)

    def _failed_alone(self, batch: Batch, error: EngineError) -> Inferred:
        image = batch.images[0]
        held = image.taken.held
        self._failed_since_success.add((held.camera, held.id))
        if len(self._failed_since_success) >= _BROKEN_AFTER:
            raise EngineError(f"the engine fails on every frame: {error}") from error
        if held.deliveries < self._settings.max_attempts:
            return Inferred(batch.settled, [held])
        failed = outcomes.failed(held, image.frame, outcomes.ENGINE_FAILED, error, worker=self._settings.name)
        return Inferred([*batch.settled, failed], [])

    def _ok(
        self, image: Ready, people: tuple[Person, ...], batch: int, begun_s: float, inferred_ms: float
    ) -> Outcome:
        taken = image.taken
        return outcomes.ok(
            taken.held,
            image.frame,
            people,
            model=self._engine.name,
            skeleton=self._engine.skeleton,
            worker=self._settings.name,
            batch=batch,
            timings={
                "encoded": image.frame.encoded_ms,
                "queued": taken.held.queued_ms,
                "decoded": image.decoded_ms,
                "waited": max(0.0, (begun_s - taken.taken_s) * 1000 - image.decoded_ms),
                "inferred": inferred_ms,
            },
        )

    async def _infer(self, tensor: NDArray[np.float32], images: Sequence[Ready]) -> list[tuple[Person, ...]]:
        letterboxes = [image.letterbox for image in images]
        done: asyncio.Future[list[tuple[Person, ...]]] = asyncio.get_running_loop().create_future()
        self._calls.put((lambda: self._engine.infer(tensor, letterboxes), done))
        try:
            return await done
        except EngineError:
            raise
        except Exception as error:  # whatever an engine raises, it is the engine that failed
            raise EngineError(f"{type(error).__name__}: {error}") from error

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            infer, done = call
            try:
                result, error = infer(), None
            except Exception as raised:
                result, error = None, raised
            done.get_loop().call_soon_threadsafe(_settle, done, result, error)

    def close(self) -> None:
        """End the thread once the engine has returned; an engine that hangs is not waited for."""
        self._calls.put(None)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
