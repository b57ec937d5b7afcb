"""How much of the bare session's speed arrives at the other end of the pipeline, and what else one could have
run.

    python bench/pipeline.py [--model testcard|FILE] [--frames 300] [--rounds 4]

Prints frames per second, and each as a ratio to the bare onnxruntime session on ready tensors, in one run:

    session     the session alone, batches of ready tensors
    loop        decode, letterbox, session, NMS of this package, one frame after the other
    rtmlib      decode and rtmlib's own RTMO class, one frame after the other
    kinestream  the same JPEGs through Redis and one worker process, from the first offer to the last commit

Rounds go forwards and backwards in turn (A B C D, D C B A, …), the figures are medians. The test card graph
costs as little as a decode: it shows the pipeline's own cost, and says nothing about RTMO. Not for: latency,
nor several workers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2

from kinestream.embedded import own_redis
from kinestream.messages import Frame
from kinestream.redis import connect
from kinestream.run import Run
from kinestream.subscriber import current_cursor, subscribe
from kinestream.testcard import TestCard
from kinestream_workers.decoding import decode
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.models import resolve_model

BATCH = 4


def frames_of_the_test_card(count: int) -> list[Frame]:
    """JPEGs of quality 85, 1280×720, drawn and encoded before any clock runs."""
    card = TestCard.parse("testcard://?athletes=4&motion=walk&size=1280x720")
    drawn = [card.draw(index / 30) for index in range(60)]
    jpegs = [cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes() for image in drawn]
    return [
        Frame(
            camera="bench",
            run=1,
            seq=seq,
            captured_us=0,
            width=1280,
            height=720,
            view=(0, 0, 1280, 720),
            codec="jpeg",
            data=jpegs[seq % len(jpegs)],
            lane="every-frame",
        )
        for seq in range(count)
    ]


def timed(work: Callable[[], None], count: int) -> float:
    """Frames per second."""
    begun_s = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun_s)


class Kinestream:
    """One worker process on a server of its own."""

    def __init__(self, url: str, model: str, frames: list[Frame]) -> None:
        self._url = url
        self._frames = frames
        command = [sys.executable, "-m", "kinestream", "worker", "--model", model, "--redis", url]
        self._worker = subprocess.Popen([*command, "--max-batch", str(BATCH)], stderr=subprocess.DEVNULL)

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        async with connect(self._url) as redis:
            cursor = await current_cursor(redis)
            run = await Run.begin(redis, "bench", lane="every-frame")
            offering = asyncio.create_task(self._offer(run))
            left = len(self._frames)
            async for result in subscribe(redis, ["bench"], start=cursor):
                left -= result.run == run.number and result.status == "ok"
                if not left:
                    break
            await offering

    async def _offer(self, run: Run) -> None:
        for frame in self._frames:
            while await run.offer(replace(frame, run=run.number)) == "full":
                await asyncio.sleep(0.002)
        await run.finish()

    def close(self) -> None:
        self._worker.terminate()
        self._worker.wait()


def contenders(model: str, frames: list[Frame], pipeline: Kinestream) -> dict[str, Callable[[], None]]:
    import onnxruntime
    from rtmlib import RTMO

    engine = RtmoEngine(resolve_model(model), EngineOptions())
    bare = onnxruntime.InferenceSession(str(resolve_model(model)), providers=["CPUExecutionProvider"])
    batch = engine.new_batch(BATCH)
    for slot, frame in enumerate(frames[:BATCH]):
        engine.fill(batch, slot, decode(frame))
    theirs = RTMO(str(resolve_model(model)), model_input_size=engine.input_size, backend="onnxruntime")

    def session() -> None:
        for _ in range(0, len(frames), BATCH):
            bare.run(None, {"input": batch.tensor})

    def loop() -> None:
        for frame in frames:
            engine.fill(batch, 0, decode(frame))
            engine.infer(batch, [0])

    def rtmlib() -> None:
        for frame in frames:
            theirs(decode(frame))

    engine.infer(batch, range(BATCH))
    return {"session": session, "loop": loop, "rtmlib": rtmlib, "kinestream": pipeline.run}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--model", default="testcard")
    options.add_argument("--frames", type=int, default=300)
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = options.parse_args()
    frames = frames_of_the_test_card(chosen.frames)
    with own_redis() as server:
        pipeline = Kinestream(server.url, chosen.model, frames)
        try:
            figures = measure(contenders(chosen.model, frames, pipeline), len(frames), chosen.rounds)
        finally:
            pipeline.close()
    base = statistics.median(figures["session"])
    for name, values in figures.items():
        fps = statistics.median(values)
        spread = (max(values) - min(values)) / fps
        print(f"{name:10}  {fps:7.1f} frames/s  {fps / base:5.2f} × session  spread {spread:4.0%}")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(run: dict[str, Callable[[], None]], count: int, rounds: int) -> dict[str, list[float]]:
    """Frames per second of each contender in each round, after one round that does not count."""
    figures: dict[str, list[float]] = {name: [] for name in run}
    for number in range(rounds + 1):
        for name in list(run)[:: 1 if number % 2 else -1]:
            fps = timed(run[name], count)
            if number:
                figures[name].append(fps)
    return figures


if __name__ == "__main__":
    main()
