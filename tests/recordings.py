"""Recorders that run beside a test, on the stage of `filmed.py`. Not for: the command (see `pipeline.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from filmed import Stage
from kinestream.messages import PoseResult
from kinestream_consumers.record import Recorder
from pipeline import records_of
from waiting import wait_until

Record = Callable[..., Any]
"""What `recordings` gives."""


class Recording:
    """A `Recorder` that runs beside the test."""

    def __init__(self, recorder: Recorder, folder: Path, *, until_end: bool) -> None:
        self.recorder, self.folder = recorder, folder
        self.stop = asyncio.Event()
        self.task = asyncio.ensure_future(recorder.run(self.stop, until_end=until_end))

    @property
    def video(self) -> Path:
        return self.folder / "annotated.mp4"

    @property
    def records(self) -> list[PoseResult]:
        return records_of(self.folder / "results.jsonl")

    async def reads(self, count: int) -> None:
        """Wait until so many records were read."""

        def has_read() -> bool:
            if self.task.done():
                self.task.result()
            return self.recorder.records >= count

        await wait_until(has_read, f"the recorder to read {count} records")

    async def ends(self) -> None:
        """Wait for its end, which is its own."""
        await asyncio.wait_for(self.task, 30)

    async def looks(self, times: int = 3) -> None:
        """Wait until it has looked so many times whether there is a record, and goes on."""
        looks = itertools.count(1)
        seen = 0
        comes = self.recorder._comes

        async def counted(coming: Any) -> bool:
            nonlocal seen
            is_there = await comes(coming)
            seen = next(looks)
            return is_there

        self.recorder._comes = counted  # type: ignore[method-assign]
        await wait_until(lambda: seen >= times or self.task.done(), "the recorder to look")
        assert not self.task.done(), "it has ended"

    async def is_stopped(self) -> None:
        self.stop.set()
        await self.ends()


@contextlib.asynccontextmanager
async def recordings(stage: Stage, folder: Path) -> AsyncIterator[Record]:
    """Give a function that starts to record cameras, which it does when the function returns.

    It takes the arguments of `Recorder`, with `folder` and video=True unless said otherwise, and `until_end`.
    """
    started: list[Recording] = []

    async def start(
        *cameras: str, until_end: bool = True, video: bool = True, folder: Path = folder, **options: Any
    ) -> Recording:
        recorder = Recorder(stage.redis, cameras, folder, video=video, keys=stage.keys, **options)
        recording = Recording(recorder, folder, until_end=until_end)
        started.append(recording)
        if video:
            await wait_until(lambda: stage.is_wanted(cameras[-1]), "pictures to be wanted")
            await wait_until(lambda: recorder._filming, "the recorder to begin")
        return recording

    yield start
    for recording in started:
        recording.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await recording.task


def content(folder: Path) -> set[str]:
    """Names of what is in a folder."""
    return {path.name for path in folder.iterdir()}
