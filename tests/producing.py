"""A producer under way, and a worker that takes its frames. Not for: promises; those are in the tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np

from delivering import Delivery, outcome
from kinestream.messages import Frame, Lane
from kinestream.run import Run
from kinestream_ingest.producer import Producer
from kinestream_ingest.sources import Source
from waiting import wait_until

TOO_TALL = np.zeros((70_000, 1, 3), np.uint8)
"""A picture that no JPEG can hold."""


class Producing:
    """A producer under way, in a task; `stop` is what Ctrl-C sets."""

    def __init__(self, delivery: Delivery, source: Source, lane: Lane, **how: object) -> None:
        self.stop = asyncio.Event()
        self.producer = Producer(
            delivery.redis,
            source,
            camera="cam",
            lane=lane,
            stop=self.stop,
            keys=delivery.keys,
            limits=delivery.limits,
            **how,  # type: ignore[arg-type]
        )
        self.task = asyncio.create_task(self.producer.produce())

    @property
    def run(self) -> Run:
        return self.producer.offering.run

    async def offered(self, count: int) -> None:
        await wait_until(lambda: self.producer.offering.offered >= count, f"{count} frames to be offered")


@contextlib.asynccontextmanager
async def producing(
    delivery: Delivery, source: Source, lane: Lane = "every-frame", **how: object
) -> AsyncIterator[Producing]:
    """A producer that is stopped when the block is left."""
    under_way = Producing(delivery, source, lane, **how)
    try:
        yield under_way
    finally:
        under_way.stop.set()
        with contextlib.suppress(Exception):  # a test that expects one has seen it
            await under_way.task


@contextlib.asynccontextmanager
async def working(delivery: Delivery, *, batch: int = 3) -> AsyncIterator[list[Frame]]:
    """A worker that takes all frames and says ok; a list of what it took."""
    took: list[Frame] = []
    worker = delivery.worker()
    done = (
        asyncio.Event()
    )  # not a cancellation: redis-py may swallow one (asyncio.wait_for before Python 3.12)

    async def work() -> None:
        while not done.is_set():
            held = await worker.take(["cam"], batch)
            took.extend(Frame.unpack(one.packed) for one in held)
            await worker.commit([outcome(one) for one in held])
            await asyncio.sleep(0.005)

    task = asyncio.create_task(work())
    try:
        yield took
    finally:
        done.set()
        await task


async def all_ok(delivery: Delivery, run: Run, count: int) -> None:
    async def done() -> bool:
        return (await delivery.ledger(run)).ok == count

    await wait_until(done, f"{count} frames to be ok")
