"""Runs batches through the engine on a thread of its own, and finds the frame that breaks a batch.

Not for: the engine itself (see `engines/`), nor for what is done with the outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kinestream.errors import EngineError
from kinestream.groupconsumer import Held, Outcome
from kinestream.messages import Person
from kinestream_workers import outcomes
from kinestream_workers.decoding import in_source
from kinestream_workers.engines import Engine
from kinestream_workers.engines.engine import EngineHangs
from kinestream_workers.engines.warmup import blank_image
from kinestream_workers.preparing import Batch, Ready
from kinestream_workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Inferred:
    """What came out of a batch: outcomes to commit, and frames on which another attempt shall be made."""

    outcomes: Sequence[Outcome]
    again: Sequence[Held]


class Begun:
    """A batch that the engine was given; made by `Inference.begin`.

    What has grown too old leaves the `batch` when its turn comes. If it is `withdrawn`, its turn never came.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.people: Sequence[tuple[Person, ...]] = ()
        self.error: Exception | None = None
        self.withdrawn = False
        self.begun_s = self.ended_s = time.monotonic()
        self.done: asyncio.Future[None] | None = None

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


class _Call:
    """Something for the engine's thread to do."""

    def __init__(self, do: Callable[[], Any], what: str, done: asyncio.Future[Any]) -> None:
        self.do = do
        self.what = what
        self.done = done


class Inference:
    """One engine on one daemon thread: if the engine hangs, the process can still end."""

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
        self._doing: tuple[str, float] | None = None  # what the thread is at, and since when
        self._hangs = False
        self._withdrawn = False
        self._blank = engine.new_batch(1)
        engine.fill(self._blank, 0, blank_image())
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="engine", daemon=True)
        self._thread.start()

    def begin(self, batch: Batch) -> Begun:
        """Have a batch inferred as soon as the engine has done those that were begun before it."""
        begun = Begun(batch)
        begun.done = self._called(lambda: self._infer(begun), f"a batch of {len(batch.images)}")
        return begun

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
            alone = await self.outcomes_of(self.begin(Batch(batch.memory, [image], [])))
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
            await self._called(lambda: self._engine.infer(self._blank, [0]), "a blank picture")
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

    def _infer(self, begun: Begun) -> None:
        """Let the engine do it, on its thread."""
        if self._withdrawn:
            begun.withdrawn = True
            return
        begun.batch = batch = self._without_stale(begun.batch)
        begun.begun_s = time.monotonic()
        self._at = begun
        try:
            if slots := [image.slot for image in batch.images]:
                begun.people = self._engine.infer(batch.memory, slots)
        except Exception as error:
            begun.error = error
        self._at = None
        begun.ended_s = time.monotonic()

    def _called(self, do: Callable[[], Any], what: str) -> asyncio.Future[Any]:
        """What this gives or raises on the engine's thread; `EngineHangs` if it does not end in time."""
        call = _Call(do, what, asyncio.get_running_loop().create_future())
        self._calls.put(call)
        self._look_in(self._settings.engine_timeout_s, call)
        return call.done

    def _look_in(self, seconds: float, call: _Call) -> None:
        timer = call.done.get_loop().call_later(seconds, self._look, call)
        call.done.add_done_callback(lambda _: timer.cancel())

    def _look(self, call: _Call) -> None:
        """Give up if the engine is at one thing for too long, this one or one that it waits for."""
        timeout_s = self._settings.engine_timeout_s
        what, since_s = self._doing or (call.what, time.monotonic())
        left_s = since_s + timeout_s - time.monotonic()
        if call.done.done():
            return
        if left_s > 0:
            self._look_in(left_s, call)
            return
        self._hangs = True
        call.done.set_exception(EngineHangs(f"the engine is at {what} for over {timeout_s:g} s: giving up"))

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            self._doing = call.what, time.monotonic()
            try:
                result, error = call.do(), None
            except Exception as raised:
                result, error = None, raised
            self._doing = None
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker gave up on this engine
                call.done.get_loop().call_soon_threadsafe(_settle, call.done, result, error)

    async def close(self) -> None:
        """Wait until the engine has returned, so that it may be closed, and end the thread.

        One that is known to hang is not waited for; raises `EngineHangs` for one that turns out to.
        """
        if not self._hangs:
            await self._called(lambda: None, "its last batch")
        self._calls.put(None)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
