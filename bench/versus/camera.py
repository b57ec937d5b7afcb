"""Four cameras in one process, whose frames were encoded beforehand.

    python camera.py URL FOLDER

They stay open, so that no measurement begins with a worker's look for new cameras: four of the lane
every-frame for what is flat, four live ones for what is paced. Not for: what becomes of the frames.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from load import SIZE, answer, punctual_loop, read_jpegs

from kinestream.messages import Frame, Lane
from kinestream.redis import connect
from kinestream.run import Run
from kinestream_ingest.fullpause import FullPause

CAMERAS = 4


def frame(camera: str, run: int, seq: int, jpeg: bytes, lane: Lane, captured_us: int = 0) -> Frame:
    return Frame(
        camera=camera,
        run=run,
        seq=seq,
        captured_us=captured_us,
        width=SIZE[0],
        height=SIZE[1],
        view=(0, 0, *SIZE),
        codec="jpeg",
        data=jpeg,
        lane=lane,
    )


class Cameras:
    """Open runs; `offer` takes the next frame of one of them."""

    def __init__(self, runs: dict[Lane, list[Run]], jpegs: list[bytes]) -> None:
        self._runs = runs
        self._jpegs = jpegs

    async def flat(self, frames: int) -> dict[str, Any]:
        left = iter(range(frames))

        async def offer(run: Run) -> None:
            pause = FullPause()
            for index in left:
                while await self._offer(run, index, time.time()) == "full":
                    await asyncio.sleep(pause.next_s())
                pause.taken_in()

        begun_s = time.time()
        await asyncio.gather(*map(offer, self._runs["every-frame"]))
        return {"begun_s": begun_s}

    async def paced(self, fps: float, seconds: float) -> dict[str, Any]:
        begun_s = time.time()
        runs = self._runs["live"]

        async def offer(lane: int, run: Run) -> None:
            for index in range(lane, round(fps * seconds), len(runs)):
                due_s = begun_s + index / fps
                await asyncio.sleep(max(0.0, due_s - time.time()))
                await self._offer(run, index, due_s)

        await asyncio.gather(*(offer(lane, run) for lane, run in enumerate(runs)))
        return {"begun_s": begun_s}

    async def _offer(self, run: Run, index: int, captured_s: float) -> str:
        jpeg = self._jpegs[index % len(self._jpegs)]
        captured_us = round(captured_s * 1e6)
        return await run.offer(frame(run.camera, run.number, run.produced, jpeg, run.lane, captured_us))


async def opened(client: Any, jpegs: list[bytes]) -> Cameras:
    lanes: tuple[Lane, ...] = ("every-frame", "live")
    runs = {
        lane: [await Run.begin(client, f"{lane}-{number}", lane=lane) for number in range(CAMERAS)]
        for lane in lanes
    }
    return Cameras(runs, jpegs)


def main() -> None:
    url, folder = sys.argv[1:]
    with asyncio.Runner(loop_factory=punctual_loop) as loop:
        client = connect(url)
        cameras = loop.run(opened(client, read_jpegs(folder)))
        answer(
            lambda frames: loop.run(cameras.flat(frames)),
            lambda fps, seconds: loop.run(cameras.paced(fps, seconds)),
            camera=os.getpid(),
        )
        loop.run(client.aclose())


if __name__ == "__main__":
    main()
