"""The contender that uses arq: one job a frame, its bytes the argument, its people the result.

    python jobs.py MODEL FOLDER      Redis, worker and client
    python jobs.py work MODEL URL    arq's worker alone

msgpack in place of pickle, and polls every 10 ms in place of every 500: kinder to arq than its defaults.
Not for: use; a job is right for what takes minutes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import msgpack
from load import answer_with, punctual_loop, read_jpegs
from oneimage import decode, one_by_one
from redis.asyncio import ConnectionPool

POLL_S = 0.01
UNDER_WAY = 8


def _pool(url: str) -> Any:
    from arq.connections import ArqRedis

    connections = ConnectionPool.from_url(url)
    return ArqRedis(connections, job_serializer=msgpack.packb, job_deserializer=msgpack.unpackb)


def work(model: str, url: str) -> None:
    from arq import Worker, func

    people, one_at_a_time = one_by_one(model), asyncio.Lock()

    async def pose(ctx: dict[str, Any], jpeg: bytes) -> list[Any]:
        async with one_at_a_time:
            return await asyncio.to_thread(lambda: people(decode(jpeg)))

    Worker(
        functions=[func(pose, name="pose", keep_result=5)],
        redis_pool=_pool(url),
        poll_delay=POLL_S,
        max_jobs=UNDER_WAY,
        job_serializer=msgpack.packb,
        job_deserializer=msgpack.unpackb,
    ).run()


class Jobs:
    width = UNDER_WAY

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def ask(self, lane: int, jpeg: bytes) -> None:
        job = await self._pool.enqueue_job("pose", jpeg)
        await job.result(poll_delay=POLL_S)


def main() -> None:
    if sys.argv[1] == "work":
        work(*sys.argv[2:])
        return
    from kinestream.embedded import EmbeddedRedis

    model, folder = sys.argv[1:]
    with EmbeddedRedis(private=True) as server, asyncio.Runner(loop_factory=punctual_loop) as loop:
        command = [sys.executable, __file__, "work", model, server.url]
        worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            jobs = Jobs(_pool(server.url))
            loop.run(jobs.ask(0, read_jpegs(folder)[0]))
            answer_with(
                loop, jobs, read_jpegs(folder), redis=server.pid, worker=worker.pid, client=os.getpid()
            )
        finally:
            worker.terminate()
            worker.wait()


if __name__ == "__main__":
    main()
