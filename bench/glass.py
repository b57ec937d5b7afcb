"""How long after its light a picture has its result, and where the time goes: a clock drawn by the camera.

    python bench/glass.py FILM [--model testcard] [--seconds 40] [--size 768x432] [--clock arrival|auto]

An RTSP server (GStreamer's) draws the time into each picture, encodes and sends it; ingest, a Redis and a
worker are processes; here the very pictures that were inferred from are read back with their results, and the
clock in them. All is one machine, so there is one clock. Prints milliseconds, median and 95th percentile:

    camera      from the drawn time to `captured_us`: encoding, RTSP, decoding as far as that
    ingest      to the JPEG being offered
    ...         the stages that each record carries
    published   what is left, to the commit of the result, and to its arrival here

Not for: throughput (see `gym.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clips import pictures, write_raw
from drawnclock import MIN_WIDTH, read_clock
from gym import Server
from redis.asyncio import Redis

from kinestream import subscribe
from kinestream.embedded import own_redis
from kinestream.keys import Keys
from kinestream.messages import Frame, PoseResult
from kinestream.processes import start_child
from kinestream.redis import connect
from kinestream.tasks import cancel

CAMERA = "clock"
_WARM_UP_S = 8.0
"""The first pictures wait for a keyframe, the model's first batches, and the camera's first sender report."""


async def _keep_wanting(redis: Redis) -> None:
    while True:
        await redis.set(Keys().want(CAMERA), b"1", ex=6)
        await asyncio.sleep(2)


async def _drawn_s(redis: Redis, last: dict[str, bytes], seen: dict[tuple[int, int], float]) -> None:
    """Read the pictures that have come, and the clocks in them."""
    reply: Any = await redis.xread({Keys().pictures(CAMERA): last["id"]}, count=64)
    for _, entries in reply or ():
        for entry, fields in entries:
            last["id"] = entry
            frame = Frame.unpack(fields[b"frame"])
            image = cv2.imdecode(np.frombuffer(frame.data, np.uint8), cv2.IMREAD_COLOR)
            drawn_s = read_clock(image)
            if drawn_s is not None:
                seen[frame.run, frame.seq] = drawn_s


def _stages(result: PoseResult, drawn_s: float, arrived_s: float) -> dict[str, float]:
    """Milliseconds of one frame, stage by stage; they add up to `whole`."""
    assert result.captured_us is not None
    stages = {"camera": result.captured_us / 1000 - 1000 * drawn_s, **result.timings}
    stages["published"] = 1000 * (arrived_s - drawn_s) - sum(stages.values())
    return {**stages, "whole": 1000 * (arrived_s - drawn_s)}


async def measure(url: str, seconds: float) -> dict[str, Any]:
    """Follow results and pictures for a while."""
    seen: dict[tuple[int, int], float] = {}
    found: list[tuple[PoseResult, float]] = []
    last = {"id": b"0"}
    async with connect(url) as redis:
        wanting = asyncio.create_task(_keep_wanting(redis))
        until = time.monotonic() + seconds

        async def follow() -> None:
            async for result in subscribe(url, cameras=[CAMERA]):
                arrived_s = time.time()
                if result.status == "ok":
                    found.append((result, arrived_s))

        following = asyncio.create_task(follow())
        while time.monotonic() < until:
            await asyncio.sleep(0.25)
            await _drawn_s(redis, last, seen)
        await cancel(following)
        await cancel(wanting)
    warm_s = time.time() - seconds + _WARM_UP_S
    rows = [
        _stages(result, seen[result.run, result.seq], arrived_s)
        for result, arrived_s in found
        if arrived_s > warm_s and (result.run, result.seq) in seen
    ]
    return {"frames": len(rows), "ms": _percentiles(rows)}


def _percentiles(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    told = {}
    for stage in rows[0] if rows else ():
        cuts = statistics.quantiles([row[stage] for row in rows], n=20, method="inclusive")
        told[stage] = [round(cuts[9], 1), round(cuts[18], 1)]
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("film", type=Path)
    parser.add_argument("--model", default="testcard")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--size", default="768x432")
    parser.add_argument("--port", type=int, default=18654)
    parser.add_argument("--clock", choices=["arrival", "auto"], default="arrival")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    if width < MIN_WIDTH:
        parser.error(f"the clock needs a width of {MIN_WIDTH}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ks-glass-")))
        (folder / "clips").mkdir()
        write_raw(folder / "clips" / "clock.yuv", pictures(options.film, 30, width, height))
        url = stack.enter_context(own_redis()).url
        server = stack.enter_context(Server("rtsp", folder / "clips", options.port, "--clock", options.size))
        asyncio.run(server.start())
        source = f"rtsp://127.0.0.1:{options.port}/clock#clock={options.clock}"
        environment = {"KINESTREAM_REDIS_URL": url}
        for words in (
            ["worker", "--model", options.model, "--threads", "1"],
            ["ingest", source, "--camera", CAMERA],
        ):
            stack.enter_context(
                start_child(words, name=words[0], environment=environment, log=folder / f"{words[0]}.log")
            )
        found = asyncio.run(measure(url, options.seconds))
        print(json.dumps({"size": options.size, "model": options.model, "clock": options.clock} | found))


if __name__ == "__main__":
    main()
