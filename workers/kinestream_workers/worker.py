"""One worker: reader → batcher → decoders → engine → commit, none of them waiting for more than its own.

While batch k is in the session, the next two are fetched and decoded into the other memories, the second one
only if the engine is quicker than that, and batch k−1 is committed. The last decoder of a batch gives it to
the engine by itself, which finds batch k+1 when it is through with k. Told to stop, the worker finishes the
batch in the session, commits it, and hands everything else back.

Not for: what the stages do inside; each has a file of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from kinestream.errors import KinestreamError
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held
from kinestream.redis import BLOCK_MS, reason, through_outages
from kinestream.tasks import cancel, happened
from kinestream_workers import outcomes
from kinestream_workers.aside import Aside
from kinestream_workers.batcher import Batcher
from kinestream_workers.batches import Batch, Preparing, Taken
from kinestream_workers.committing import Committing
from kinestream_workers.demand import MEMORIES, Demand
from kinestream_workers.engines import Engine
from kinestream_workers.engines.engine import EngineHangs
from kinestream_workers.inference import Begun, Inference
from kinestream_workers.leases import Leases, sweep
from kinestream_workers.preparing import Preparer
from kinestream_workers.reader import Reader
from kinestream_workers.reporting import Reporter
from kinestream_workers.settings import WorkerSettings
from kinestream_workers.totals import Totals

_log = logging.getLogger(__name__)

_GOODBYE_S = 5.0
"""For handing back on the way out; if Redis is away for longer, the leases run out by themselves."""


class Worker:
    """A worker on one engine."""

    def __init__(
        self,
        consumer: GroupConsumer,
        engine: Engine,
        settings: WorkerSettings,
        costs_ms: Mapping[int, float] | None = None,
    ) -> None:
        """`costs_ms` is what `warm_up` measured; without it, the worker learns what batches cost."""
        self._consumer = consumer
        self._settings = settings
        self._room_changed = asyncio.Event()
        self._leases = Leases(consumer, self._room_changed)
        self._batcher: Batcher[Taken] = Batcher(settings.max_batch, settings.max_wait_ms / 1000)
        self._preparer = Preparer(engine, settings, consumer.age_limit_ms)
        self._inference = Inference(engine, settings, self._preparer.without_stale)
        self._changed = asyncio.Event()
        self._aside = Aside(self._come_back, self._preparer.is_stale)
        self._demand = Demand(settings, self._in_hand, costs_ms)
        self._reporter = Reporter(consumer, engine, lambda: self.held, demand=self._demand)
        self._committing = Committing(consumer, self._leases, self._reporter, self._demand)
        self._reader = Reader(
            consumer, self._demand, self._room_changed, self._receive, lambda: self._aside.cameras
        )
        self._ending = asyncio.Event()
        self._memories = deque(engine.new_batch(settings.max_batch) for _ in range(MEMORIES))
        self._preparing: asyncio.Queue[tuple[Preparing, Begun] | None] = asyncio.Queue()
        self._inferred: asyncio.Queue[Begun | None] = asyncio.Queue()
        self._suspects: list[Held] = []

    @property
    def committed(self) -> int:
        """Of how many frames it published the outcome."""
        return self._committing.committed

    @property
    def totals(self) -> Totals:
        """What it has committed since its start."""
        return self._reporter.totals

    @property
    def demand(self) -> Demand:
        """What it asks for, and its latency target."""
        return self._demand

    @property
    def held(self) -> int:
        """How many frames it holds now."""
        return len(self._leases.held())

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain.

        Raises `UnsupportedVersion` when a frame is newer than this program, and `EngineError` when the engine
        is broken or hangs; what was held is handed back first.
        """
        ending = self._ending

        def end() -> None:
            """Wake every stage that waits for something, so that it sees that it is told to end."""
            ending.set()
            self._changed.set()
            self._room_changed.set()
            self._inference.withdraw()

        told = asyncio.create_task(stop.wait())
        reading = asyncio.create_task(self._reader.run(ending))
        committing = asyncio.create_task(self._committing.run(ending))
        before = (self._prepare(), self._follow(), self._conclude(ending))
        stages = [*(asyncio.create_task(stage) for stage in before), committing]
        upkeep = [
            asyncio.create_task(self._leases.keep()),
            asyncio.create_task(self._reporter.keep()),
            asyncio.create_task(self._aside.keep()),
            asyncio.create_task(sweep(self._consumer, lambda: self._reader.cameras)),
        ]
        pending: set[asyncio.Task[Any]] = {told, reading, *stages, *upkeep}
        try:
            while not pending.isdisjoint({reading, *stages}):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                end()  # whichever ends, told or failed, ends the others
                for task in done:
                    task.result()
        finally:
            end()
            # The reader looks at the event by itself: a blocked read that is cancelled would strand a frame.
            # What was inferred before another stage failed is committed, not done again by somebody else.
            await asyncio.wait({reading, committing}, timeout=2 * BLOCK_MS / 1000)
            await cancel(told, reading, *stages, *upkeep)  # all: several may have failed at once
            await self._say_goodbye()
            self._aside.close()
            await self._preparer.close()
            await self._inference.close()

    def _in_hand(self) -> int:
        """Frames that take somebody's room: those aside do not, nor those that are dropped."""
        return sum(not frame.late for frame in self._leases.held()) - len(self._aside)

    def _receive(self, held: Sequence[Held]) -> None:
        if not held:
            return
        now_s = time.monotonic()
        self._leases.add(held)
        in_time = [frame for frame in held if not frame.late]
        self._demand.came(len(in_time))
        for frame in in_time:
            self._batcher.add(Taken(frame), now_s, alone=frame.deliveries > 1)
        self._cut_now()
        late = [outcomes.late(frame, worker=self._settings.name) for frame in held if frame.late]
        if in_time:
            self._committing.put_with_next(late)
        elif late:
            self._committing.put(late)

    def _come_back(self, taken: Taken) -> None:
        """Take a frame that was aside into one of the next batches."""
        self._demand.came(1)
        self._batcher.add(taken, time.monotonic(), alone=taken.held.deliveries > 1)
        self._cut_now()

    def _cut(self) -> float | None:
        """Give batches that are due on their way through decoders and engine, if a memory is free to take
        them.

        Returns the seconds until the next one is due, None if that does not depend on time alone.
        """
        while self._memories and not self._ending.is_set():
            self._batcher.max_batch = self._demand.decision.batch
            due_in = self._batcher.due_in(time.monotonic())
            if due_in != 0:
                return due_in
            frames = self._batcher.pop()
            self._demand.preparing(len(frames))
            preparing = self._preparer.begin(frames, self._memories.popleft())
            self._preparing.put_nowait((preparing, self._inference.begin(preparing)))
        return None

    def _cut_now(self) -> None:
        """The same, and `_prepare` waits for the next one."""
        if self._cut() is not None:
            self._changed.set()

    async def _prepare(self) -> None:
        """Cut the batches that become due with time."""
        try:
            while not self._ending.is_set():
                self._changed.clear()
                await happened(self._changed, self._cut())
        finally:
            self._preparing.put_nowait(None)

    async def _follow(self) -> None:
        """Tell, batch after batch, when the decoders are through with it, and the engine has it."""
        try:
            while (given := await self._preparing.get()) is not None:
                preparing, begun = given
                if self._ending.is_set() and not preparing.at_work.is_over:
                    break  # its turn will not come any more
                batch = await self._prepared(preparing)
                self._demand.begun(len(batch.images))
                self._inferred.put_nowait(begun)
                del given, preparing, begun, batch
        finally:
            self._inferred.put_nowait(None)

    async def _prepared(self, preparing: Preparing) -> Batch:
        try:
            batch = await self._preparer.ended(preparing)
        except EngineHangs:  # a frame may be why: it must not end worker after worker for ever
            self._suspects += [taken.held for taken in preparing.frames]
            raise
        self._aside.joined(preparing.frames)
        self._aside.put(batch.aside)
        self._demand.prepared()
        self._demand.went(len(batch.aside))
        return batch

    async def _conclude(self, stop: asyncio.Event) -> None:
        """Make outcomes of what the engine gave."""
        try:
            while (begun := await self._inferred.get()) is not None:
                await begun.ended()
                self._demand.ended(begun.worked)
                self._demand.went(begun.batch.frames)
                try:
                    inferred = await self._inference.outcomes_of(begun)
                except EngineHangs:  # as above
                    self._suspects += self._inference.suspects(begun)
                    raise
                self._memories.append(begun.batch.memory)
                self._cut_now()
                self._committing.put(inferred.outcomes)
                self._room_changed.set()
                if inferred.again:
                    await self._leases.hand_back(inferred.again, counted=True, stop=stop)
                del begun, inferred
        finally:
            self._committing.no_more()

    async def _say_goodbye(self) -> None:
        held = self._leases.held()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._leases.hand_back(self._suspects, counted=True)
                await self._leases.hand_back(self._leases.held(), counted=False)
                leave = partial(self._consumer.leave, self._reader.cameras)
                await through_outages(leave, what="leaving")
        except (TimeoutError, OSError, KinestreamError) as error:
            if held:
                _log.warning(
                    "%d frames could not be handed back, their leases will run out: %s",
                    len(held),
                    reason(error),
                )
