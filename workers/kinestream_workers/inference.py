"""Runs batches through the engine on its own thread, and finds the frame that breaks a batch.

Not for: the engine itself (see `engines/`), its thread (`enginethread.py`), nor for what is done with the
outcomes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from kinestream.errors import EngineError
from kinestream.held import Held, Outcome
from kinestream.messages import Person
from kinestream_workers import outcomes
from kinestream_workers.batches import Batch, Preparing, Ready
from kinestream_workers.countdown import Countdown
from kinestream_workers.decoding import in_source
from kinestream_workers.engines import Engine
from kinestream_workers.engines.engine import EngineHangs
from kinestream_workers.engines.warmup import blank_image
from kinestream_workers.enginethread import EngineThread
from kinestream_workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Inferred:
    """What came out of a batch: outcomes to commit, and frames on which another attempt shall be made."""

    outcomes: Sequence[Outcome]
    again: Sequence[Held]


class Begun:
    """A batch that the engine was given; made by `Inference.begin`.

    If it is `withdrawn`, its turn never came.
    """

    def __init__(self, preparing: Preparing) -> None:
        self._preparing = preparing
        self._left: Batch | None = None
        self.people: Sequence[tuple[Person, ...]] = ()
        self.error: Exception | None = None
        self.withdrawn = False
        self.begun_s = self.ended_s = time.monotonic()
        self.done: asyncio.Future[None] | None = None

    @property
    def batch(self) -> Batch:
        """What was prepared; from its turn on without what has grown too old."""
        batch = self._left or self._preparing.batch
        assert batch is not None, "nobody asks before it is prepared, nor if that failed"
        return batch

    @batch.setter
    def batch(self, left: Batch) -> None:
        self._left = left

    async def ended(self) -> None:
        """Wait until the engine is done with it; then there are `people`, or an `error`."""
        if self.done is not None:
            done, self.done = self.done, None
            try:
                await done
            except EngineHangs as error:
                self.error = error

    @property
    def worked(self) -> tuple[int, float]:
        """How many images the engine did, and the seconds that it took; none if it failed."""
        images = 0 if self.error or self.withdrawn else len(self.batch.images)
        return images, self.ended_s - self.begun_s


class Inference:
    """One engine on one thread."""

    def __init__(
        self,
        engine: Engine,
        settings: WorkerSettings,
        without_stale: Callable[[Batch], Batch],
    ) -> None:
        """`without_stale` is asked on the engine's thread, when a batch's turn has come."""
        self._engine = engine
        self._settings = settings
        self._without_stale = without_stale
        self._at: Begun | None = None
        self._withdrawn = False
        self._blank = engine.new_batch(1)
        engine.fill(self._blank, 0, blank_image())
        self._thread = EngineThread(settings.engine_timeout_s)

    def begin(self, preparing: Preparing) -> Begun:
        """Have a batch inferred as soon as it is prepared, and those that were begun before it are done."""
        return self._begin(preparing, after=preparing.at_work)

    def suspects(self, begun: Begun) -> Sequence[Held]:
        """The frames that may be why the engine hangs, while this batch is waited for: those it is at."""
        return [image.held for image in (self._at or begun).batch.images]

    def withdraw(self) -> None:
        """Take back the batches whose turn has not come, and those that are begun from now on."""
        self._withdrawn = True

    async def outcomes_of(self, begun: Begun) -> Inferred:
        """What came out of a batch that was begun; if it failed, each of its images is inferred alone.

        Raises `EngineError` when the engine fails on a blank picture too: then the engine is broken, and the
        frames are not. Raises `EngineHangs` after `engine_timeout_s`.
        """
        await begun.ended()
        batch = begun.batch
        if begun.withdrawn:
            return Inferred(batch.settled, batch.again)
        try:
            if begun.error is not None:
                raise begun.error
            pairs = zip(batch.images, begun.people, strict=True)
            done = [self._ok(image, people, begun) for image, people in pairs]
        except EngineHangs:
            raise
        except Exception as error:  # whatever it is: what the engine gave for these frames is of no use
            if len(batch.images) == 1:
                return await self._failed_alone(batch, error)
            return await self._one_by_one(batch)
        return Inferred([*batch.settled, *done], batch.again)

    async def _one_by_one(self, batch: Batch) -> Inferred:
        outcomes_: list[Outcome] = list(batch.settled)
        again: list[Held] = list(batch.again)
        for image in batch.images:
            alone = await self.outcomes_of(self._begin(Preparing.done(Batch(batch.memory, [image], []))))
            outcomes_ += alone.outcomes
            again += alone.again
        return Inferred(outcomes_, again)

    async def _failed_alone(self, batch: Batch, error: Exception) -> Inferred:
        image = batch.images[0]
        held = image.held
        await self._check_engine()
        if held.deliveries < self._settings.max_attempts:
            return Inferred(batch.settled, [*batch.again, held])
        worker, model = self._settings.name, self._engine.name
        failed = outcomes.failed(held, image.frame, outcomes.ENGINE_FAILED, error, worker=worker, model=model)
        return Inferred([*batch.settled, failed], batch.again)

    async def _check_engine(self) -> None:
        """Raise `EngineError` unless the engine can infer a blank picture: whose fault is a failure?"""
        try:
            await self._thread.call(lambda: self._engine.infer(self._blank, [0]), "a blank picture")
        except EngineHangs:
            raise
        except Exception as error:
            raise EngineError(f"the engine fails on every picture, a blank one too: {error}") from error

    def _ok(self, image: Ready, people: tuple[Person, ...], begun: Begun) -> Outcome:
        held = image.held
        return outcomes.ok(
            held,
            image.frame,
            in_source(people, image.frame),
            model=self._engine.name,
            skeleton=self._engine.skeleton,
            worker=self._settings.name,
            batch=len(begun.batch.images),
            timings={
                "encoded": image.frame.encoded_ms,
                "queued": held.queued_ms,
                "decoded": image.decoded_ms,
                "waited": max(0.0, (begun.begun_s - held.taken_s) * 1000 - image.decoded_ms),
                "inferred": (begun.ended_s - begun.begun_s) * 1000,
            },
        )

    def _begin(self, preparing: Preparing, after: Countdown | None = None) -> Begun:
        begun = Begun(preparing)
        begun.done = self._thread.call(partial(self._infer, begun, preparing), "a batch", after)
        return begun

    def _infer(self, begun: Begun, preparing: Preparing) -> None:
        """Let the engine do it, on its thread."""
        if self._withdrawn or preparing.batch is None:
            begun.withdrawn = True
            return
        begun.batch = batch = self._without_stale(begun.batch)
        begun.begun_s = time.monotonic()
        self._at = begun
        self._thread.is_at(f"a batch of {len(batch.images)}")
        try:
            if slots := [image.slot for image in batch.images]:
                begun.people = self._engine.infer(batch.memory, slots)
        except Exception as error:
            begun.error = error
        self._at = None
        begun.ended_s = time.monotonic()

    async def close(self) -> None:
        """Wait until the engine has returned, so that it may be closed; raises `EngineHangs`."""
        await self._thread.close()
