"""A worker in the test's own process, with an engine that a test wrote: what it is given and what comes out.

Not for: workers as processes (see `pipeline.py`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from redis.asyncio import Redis

from engines import ScriptedEngine
from kinestream.delivery import Limits
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.messages import Lane, PoseResult
from kinestream.run import Run
from kinestream_workers.settings import WorkerSettings
from kinestream_workers.worker import Worker
from waiting import wait_until

LIMITS = Limits(lease_ms=1000)
"""A lease that a test can wait for, and that a busy machine can keep."""


async def begin_run(redis: Redis, keys: Keys, camera: str, lane: Lane = "every-frame", **wishes: Any) -> Run:
    """Begin a run of a camera that loses no frame, unless told so."""
    return await Run.begin(redis, camera, lane=lane, keys=keys, **wishes)


@asynccontextmanager
async def working(
    redis: Redis,
    keys: Keys,
    engine: ScriptedEngine,
    costs_ms: Mapping[int, float] | None = None,
    **settings: Any,
) -> AsyncIterator[SimpleNamespace]:
    """Run a worker, drain it at the end, and raise what it ended with; gives `worker`, `task` and `stop`."""
    chosen = WorkerSettings(**{"max_batch": 2, "decode_threads": 2, **settings})
    consumer = GroupConsumer(redis, chosen.name, keys=keys, limits=LIMITS)
    worker = Worker(consumer, engine, chosen, costs_ms)
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop))
    try:
        yield SimpleNamespace(worker=worker, task=task, stop=stop)
    except BaseException:
        task.cancel()  # the test's own failure is what counts
        await asyncio.gather(task, return_exceptions=True)
        raise
    finally:
        stop.set()
        engine.gate.set()
    await task


async def wait_for_records(redis: Redis, keys: Keys, count: int) -> list[PoseResult]:
    """Wait for exactly so many records of frames, and return them in order of commit."""

    async def enough() -> list[PoseResult]:
        entries = await redis.xrange(keys.results)
        results = [PoseResult.unpack(fields[b"result"]) for _, fields in entries]
        results = [result for result in results if result.status != "end"]
        return results if len(results) >= count else []

    results: list[PoseResult] = await wait_until(enough, f"{count} records")
    assert len(results) == count
    return results


async def run_program(program: str, *words: str) -> tuple[int | None, str]:
    """Run a Python program that may import what tests share, and return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *words),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, said.decode()
