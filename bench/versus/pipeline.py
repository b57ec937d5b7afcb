"""The contender Kinestream: a Redis, workers and cameras as processes, and this one subscribes.

    python pipeline.py MODEL FOLDER [WORDS OF `kinestream worker` …] [+ WORDS OF ANOTHER WORKER …]

Not for: what is measured (`load.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from load import answer

from kinestream.embedded import EmbeddedRedis
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream.subscriber import current_cursor, subscribe
from kinestream.workerreports import read_reports

HERE = Path(__file__).parent


class Pipeline:
    """Tells the cameras what to do, and reads what comes of it."""

    def __init__(self, url: str, cameras: subprocess.Popen[str]) -> None:
        self._url = url
        self._cameras = cameras
        self._client = connect(url)

    async def flat(self, frames: int) -> dict[str, Any]:
        results, begun_s = await self._results(f"flat {frames}", frames)
        return {"seconds": max(at_s for at_s, _ in results) - begun_s, **_parts(results)}

    async def paced(self, fps: float, seconds: float) -> dict[str, Any]:
        results, _ = await self._results(f"paced {fps} {seconds}", round(fps * seconds))
        done = [(at_s, result) for at_s, result in results if result.status == "ok"]
        latencies = [1000 * at_s - (result.captured_us or 0) / 1000 for at_s, result in done]
        return {"latencies_ms": latencies, "not_ok": len(results) - len(done), **_parts(done)}

    async def _results(self, command: str, count: int) -> tuple[list[tuple[float, PoseResult]], float]:
        """All results of a command, each with the time at which it came."""
        start = await current_cursor(self._client)
        assert self._cameras.stdin and self._cameras.stdout
        self._cameras.stdin.write(command + "\n")
        self._cameras.stdin.flush()
        results = []
        async for result in subscribe(self._client, start=start):
            if result.status != "end":
                results.append((time.time(), result))
            if len(results) == count:
                break
        answered: dict[str, float] = json.loads(await asyncio.to_thread(self._cameras.stdout.readline))
        return results, answered["begun_s"]

    async def until_workers(self, count: int) -> dict[str, str]:
        """Wait until so many workers have reported; the names of all."""
        while len(reports := await read_reports(self._client)) < count:
            await asyncio.sleep(0.05)
        return {report.name: report.engine for report in reports}

    async def close(self) -> None:
        await self._client.aclose()


def _parts(results: list[tuple[float, PoseResult]]) -> dict[str, Any]:
    """Milliseconds of each frame's stages, by name, and the batches' sizes."""
    parts: dict[str, list[float]] = defaultdict(list)
    for at_s, result in results:
        whole = 1000 * at_s - (result.captured_us or 0) / 1000
        timings = result.timings
        parts["own"].append(whole - timings.get("decoded", 0) - timings.get("inferred", 0))
        for name, ms in timings.items():
            parts[name].append(ms)
    batches = [result.batch for _, result in results if result.batch]
    return {"parts_ms": dict(parts), "batch": statistics.mean(batches) if batches else 0.0}


def main() -> None:
    model, folder, *words = sys.argv[1:]
    plans = " ".join(words).split(" + ") if words else [""]
    with EmbeddedRedis(private=True) as server, asyncio.Runner() as loop:
        started: list[subprocess.Popen[Any]] = []
        try:
            pids = {"redis": server.pid, "subscriber": os.getpid()}
            for number, plan in enumerate(plans, 1):
                command = [sys.executable, "-P", "-m", "kinestream", "worker", "--model", model]
                command += ["--redis", server.url, "--name", f"worker-{number}", *plan.split()]
                started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
                pids[f"worker-{number}"] = started[-1].pid
            command = [sys.executable, str(HERE / "camera.py"), server.url, folder]
            cameras = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.append(cameras)
            assert cameras.stdout
            pids |= json.loads(cameras.stdout.readline())["pids"]
            pipeline = Pipeline(server.url, cameras)
            loop.run(pipeline.until_workers(len(plans)))
            answer(
                lambda frames: loop.run(pipeline.flat(frames)),
                lambda fps, seconds: loop.run(pipeline.paced(fps, seconds)),
                **pids,
            )
            loop.run(pipeline.close())
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()


if __name__ == "__main__":
    main()
