"""Whether a worker keeps its latency target through a step of load, from a fifth to half as much again, and
back.

    python bench/target.py [--target 80ms] [--base-ms 8] [--per-image-ms 3] [--seconds 8] [--no-target]

One worker whose engine waits for a stated time, as a process, on a Redis of its own; the cameras are tasks
of one other process, offer one picture again and again at their times, and are as many as it takes. The
limit is what the engine can do in batches of the size that the worker chose. Latency is from offer to
commit, all on one clock; the first two seconds after a step do not count. Not for: the controller in a
simulated world (see `tests/test_target.py`), nor for uploads (see `fairness.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
from fairness import quantile
from redis.asyncio import Redis

from kinestream.embedded import own_redis
from kinestream.keys import Keys
from kinestream.messages import Frame, PoseResult
from kinestream.redis import connect
from kinestream.run import Run
from kinestream.testcard import TestCard
from kinestream.workerreports import read_reports

FPS = 25
STEPS = (0.2, 1.5, 0.2)
SETTLING_S = 2.0
WIDTH, HEIGHT = 320, 180


def picture() -> bytes:
    """A JPEG of the test card."""
    card = TestCard.parse(f"testcard://?athletes=2&size={WIDTH}x{HEIGHT}")
    return bytes(cv2.imencode(".jpg", card.draw(0.0))[1])


async def camera(redis: Redis, name: str, jpeg: bytes, stop: asyncio.Event) -> None:
    """Offer a frame every 1 / FPS seconds, with some jitter, until told to stop; a time that is missed is
    left out.
    """
    run = await Run.begin(redis, name, lane="live")
    due_s = time.monotonic() + random.random() / FPS
    while not stop.is_set():
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        frame = Frame(
            camera=name,
            run=run.number,
            seq=run.produced,
            captured_us=time.time_ns() // 1000,
            width=WIDTH,
            height=HEIGHT,
            view=(0, 0, WIDTH, HEIGHT),
            codec="jpeg",
            data=jpeg,
            lane="live",
        )
        await run.offer(frame)
        due_s = max(due_s + random.uniform(0.9, 1.1) / FPS, time.monotonic() - 1 / FPS)
    await run.finish()


async def step(redis: Redis, part: float, options: argparse.Namespace, jpeg: bytes) -> dict[str, Any]:
    """Put so much of the limit on for a while, and read what became of it."""
    batch = await batch_limit(redis)
    limit = 1000 * batch / (options.base_ms + options.per_image_ms * batch)
    stop, count = asyncio.Event(), max(1, round(part * limit / FPS))
    at_work = [
        asyncio.create_task(camera(redis, f"camera-{number:03}", jpeg, stop)) for number in range(count)
    ]
    await asyncio.sleep(SETTLING_S)
    began_ms = time.time() * 1000
    await asyncio.sleep(options.seconds)
    ended_ms, batch = time.time() * 1000, await batch_limit(redis)
    limit = 1000 * batch / (options.base_ms + options.per_image_ms * batch)
    stop.set()
    await asyncio.gather(*at_work)
    latencies, outcomes = [], Counter[str]()
    sizes = []
    for entry_id, fields in await redis.xrange(Keys().results, min=int(began_ms), max=int(ended_ms)):
        record = PoseResult.unpack(fields[b"result"])
        if record.status == "end":
            continue
        outcomes[f"{record.status} {record.cause}".strip()] += record.frames
        if record.status == "ok":
            sizes.append(record.batch)
            latencies.append(int(entry_id.split(b"-")[0]) - (record.captured_us or 0) / 1000)
    return {
        "load": part,
        "cameras": count,
        "offered_per_s": sum(outcomes.values()) / options.seconds,
        "served_per_s": len(latencies) / options.seconds,
        "of_limit": len(latencies) / options.seconds / limit,
        "batch_limit": batch,
        "batch": sum(sizes) / max(1, len(sizes)),
        **{f"p{round(100 * q)}_ms": quantile(latencies, q) for q in (0.5, 0.95, 0.99)},
        "outcomes": dict(outcomes),
    }


async def batch_limit(redis: Redis) -> int:
    """What the worker reports."""
    while not (reports := await read_reports(redis)):
        await asyncio.sleep(0.2)
    return reports[0].batch_limit


async def measure(url: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    jpeg = picture()
    async with connect(url) as redis:
        return [await step(redis, part, options, jpeg) for part in STEPS]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--target", default="80ms")
    options.add_argument("--no-target", action="store_true", help="the worker as it is by default")
    options.add_argument("--base-ms", type=float, default=8.0)
    options.add_argument("--per-image-ms", type=float, default=3.0)
    options.add_argument("--seconds", type=float, default=8.0)
    options.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ks-target-") as name, own_redis() as server:
        model = Path(name) / "waits.timed"
        model.write_text(f"base_ms = {chosen.base_ms}\nper_image_ms = {chosen.per_image_ms}\n")
        command = [sys.executable, "-P", "-m", "kinestream", "worker", "--redis", server.url]
        command += ["--model", str(model)] + ([] if chosen.no_target else ["--target-p95", chosen.target])
        with (Path(name) / "worker.txt").open("wb") as output:
            worker = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            steps = asyncio.run(measure(server.url, chosen))
        finally:
            worker.terminate()
            worker.wait(30)
    print(
        "load  cameras  offered/s  served/s  of limit   batch    p50    p95    p99 ms   what became of them"
    )
    for one in steps:
        print(
            f"{one['load']:4.0%} {one['cameras']:8} {one['offered_per_s']:10.0f} {one['served_per_s']:9.0f}"
            f" {one['of_limit']:9.1%} {one['batch']:4.1f} of {one['batch_limit']:<2}"
            f" {one['p50_ms']:6.1f} {one['p95_ms']:6.1f} {one['p99_ms']:6.1f}   {one['outcomes']}"
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(steps, indent=2) + "\n")


if __name__ == "__main__":
    main()
