"""Four cameras in one process, whose frames were encoded beforehand.

    python camera.py URL FOLDER

They are of the lane every-frame for what is flat, and live for what is paced, and no measurement begins with
a worker's look for new cameras. Not for: what becomes of the frames.
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
SEEN_S = 2.5
"""Until every worker looks at new cameras."""


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

    def __init__(self, client: Any, jpegs: list[bytes]) -> None:
        self._client = client
        self._jpegs = jpegs
        self._runs: list[Run] = []

    async def _open(self, lane: Lane) -> list[Run]:
        """Four cameras of this lane, and no others."""
        if not self._runs or self._runs[0].lane != lane:
            for run in self._runs:
                await run.finish()
            self._runs = [
                await Run.begin(self._client, f"{lane}-{number}", lane=lane) for number in range(CAMERAS)
            ]
            await asyncio.sleep(SEEN_S)
        return self._runs

    async def flat(self, frames: int) -> dict[str, Any]:
        left = iter(range(frames))
        runs = await self._open("every-frame")

        async def offer(run: Run) -> None:
            pause = FullPause()
            for index in left:
                while await self._offer(run, index, time.time()) == "full":
                    await asyncio.sleep(pause.next_s())
                pause.taken_in()

        begun_s = time.time()
        await asyncio.gather(*map(offer, runs))
        return {"begun_s": begun_s}

    async def paced(self, fps: float, seconds: float) -> dict[str, Any]:
        runs = await self._open("live")
        begun_s = time.time()

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


def main() -> None:
    url, folder = sys.argv[1:]
    with asyncio.Runner(loop_factory=punctual_loop) as loop:
        client = connect(url)
        cameras = Cameras(client, read_jpegs(folder))
        answer(
            lambda frames: loop.run(cameras.flat(frames)),
            lambda fps, seconds: loop.run(cameras.paced(fps, seconds)),
            camera=os.getpid(),
        )
        loop.run(client.aclose())


if __name__ == "__main__":
    main()
