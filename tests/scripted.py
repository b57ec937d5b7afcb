"""A source whose frames come when a test says so, and end as it says. Not for: real pictures."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import numpy as np

from kinestream.video import Image
from kinestream_ingest.sources import SourceFrame

PERIOD_US = 40_000
"""Its frames are captured 25 times a second, on paper."""

START_US = 1_700_000_000_000_000


def picture(number: int) -> Image:
    """A small picture whose grey says which one it is."""
    return np.full((48, 64, 3), 7 * number % 256, np.uint8)


def scripted_frame(
    number: int, *, image: Image | None = None, labels: list[str] | None = None
) -> SourceFrame:
    """Frame `number`; what is written into its picture is added to `labels`."""

    def draw(label: str) -> Image:
        if labels is not None:
            labels.append(label)
        return picture(number) if image is None else image

    return SourceFrame(picture=draw, captured_us=START_US + number * PERIOD_US, media_time_s=number / 25)


class ScriptedSource:
    """Yields what was put with `give`, until `end`; an exception among it is raised."""

    name = "scripted"
    description = "frames of a test"
    live = returns = True
    clock = "made"
    width, height = 64, 48
    fps = 25.0

    def __init__(self, frames: int | None = None) -> None:
        """With `frames` it gives so many at once, and ends."""
        self.frames = frames
        self.closed = False
        self._given: queue.Queue[SourceFrame | Exception | None] = queue.Queue()
        if frames is not None:
            self.give(*map(scripted_frame, range(frames)))
            self.end()

    def give(self, *frames: SourceFrame | Exception) -> None:
        for frame in frames:
            self._given.put(frame)

    def end(self) -> None:
        self._given.put(None)

    def repeats(self) -> Iterator[SourceFrame]:
        yield from ()

    def __iter__(self) -> Iterator[SourceFrame]:
        while (frame := self._given.get()) is not None:
            if isinstance(frame, Exception):
                raise frame
            if self.closed:
                return
            yield frame

    def close(self) -> None:
        self.closed = True
        self.end()
