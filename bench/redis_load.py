"""What a frame costs Redis, by the number of workers and cameras: its CPU, and the calls that it answers.

    python bench/redis_load.py [4x10 16x25 64x100 …] [--rate 200] [--seconds 10] [--bytes 200]

Workers are this package's own with the engine `null`, several to a process, and frames are raw pictures of so
few bytes, or of as many as a JPEG may have, so that nothing but Redis's part is large. All cameras together
offer `--rate` frames a second, evenly, whatever their number. Not for: how fast anything is (`compare.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from kinestream.embedded import EmbeddedRedis
from kinestream.groupconsumer import GroupConsumer
from kinestream.messages import Frame
from kinestream.redis import connect
from kinestream.run import Run

WORKERS_A_PROCESS = 16
SETTLE_S = 4.0
"""Until every worker knows every camera."""


async def work(url: str, first: int, count: int) -> None:
    """So many workers, until SIGTERM."""
    from kinestream.processes import capture_signals
    from kinestream_workers.engines import open_engine
    from kinestream_workers.settings import WorkerSettings
    from kinestream_workers.worker import Worker

    async def one(name: str, stop: asyncio.Event) -> None:
        async with connect(url) as client:
            settings = WorkerSettings(name=name, decode_threads=1)
            await Worker(GroupConsumer(client, name), open_engine("null"), settings).run(stop)

    with capture_signals() as stop:
        await asyncio.gather(*(one(f"worker-{number}", stop) for number in range(first, first + count)))


async def shoot(url: str, cameras: int, rate: float, seconds: float, size: int) -> None:
    """So many live cameras, `rate` frames of `size` bytes a second together."""
    width = max(1, size // 3)
    data = bytes(3 * width)
    async with connect(url) as client:
        runs = [await Run.begin(client, f"camera-{number}", lane="live") for number in range(cameras)]
        begun_s = time.monotonic()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, begun_s + number / rate - time.monotonic()))
            run = runs[number % cameras]
            await run.offer(
                Frame(
                    camera=run.camera,
                    run=run.number,
                    seq=run.produced,
                    captured_us=time.time_ns() // 1000,
                    width=width,
                    height=1,
                    view=(0, 0, width, 1),
                    codec="raw",
                    data=data,
                    lane="live",
                )
            )
        for run in runs:
            await run.finish()


async def measured(
    server: EmbeddedRedis, workers: int, cameras: int, rate: float, seconds: float, size: int
) -> Any:
    """Redis's milliseconds and calls a frame, and those of an idle second."""
    with contextlib.ExitStack() as stack:

        def start(*words: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen([sys.executable, __file__, *map(str, words)])
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        for first in range(0, workers, WORKERS_A_PROCESS):
            start("work", server.url, first, min(WORKERS_A_PROCESS, workers - first))
        start("shoot", server.url, cameras, rate, seconds + 3 * SETTLE_S, size)
        async with connect(server.url) as client:
            while await client.xlen("ks:{0}:results") < rate:
                await asyncio.sleep(0.1)
            await asyncio.sleep(SETTLE_S)
            before = await _counts(client, server.pid)
            await asyncio.sleep(seconds)
            after = await _counts(client, server.pid)
    frames = after["results"] - before["results"]
    return {
        "workers": workers,
        "cameras": cameras,
        "bytes": size,
        "frames/s": frames / seconds,
        "redis ms a frame": 1000 * (after["cpu_s"] - before["cpu_s"]) / frames,
        "calls a frame": (after["calls"] - before["calls"]) / frames,
        "commands a frame": (after["commands"] - before["commands"]) / frames,
    }


async def _counts(client: Any, pid: int) -> dict[str, float]:
    """`calls` are of scripts, of whatever client; `commands` are all, those within scripts included."""
    stats = await client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
    used = psutil.Process(pid).cpu_times()
    return {
        "cpu_s": used.user + used.system,
        "calls": calls.get("evalsha", 0),
        "commands": sum(calls.values()),
        "results": int((await client.xinfo_stream("ks:{0}:results"))["last-generated-id"].split(b"-")[1]),
    }


def main() -> None:
    match sys.argv[1:]:
        case ["work", url, first, count]:
            asyncio.run(work(url, int(first), int(count)))
            return
        case ["shoot", url, cameras, rate, seconds, size]:
            asyncio.run(shoot(url, int(cameras), float(rate), float(seconds), int(size)))
            return
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("plans", nargs="*", default=["4x10", "16x25", "64x100"], metavar="WORKERSxCAMERAS")
    options.add_argument("--rate", type=float, default=200.0)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--bytes", type=int, default=200, help="of a frame's picture")
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    figures = []
    for plan in chosen.plans:
        workers, cameras = map(int, plan.split("x"))
        with EmbeddedRedis(private=True) as server:
            one = asyncio.run(measured(server, workers, cameras, chosen.rate, chosen.seconds, chosen.bytes))
        figures.append(one)
        print(", ".join(f"{name} {value:.3g}" for name, value in one.items()), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
