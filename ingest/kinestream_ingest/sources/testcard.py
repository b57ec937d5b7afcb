"""The test card as a source: a synthetic camera that keeps the clock.

With pace `camera` it behaves as a camera does, whose sensor does not wait: pictures are made at their
times, a picture that is a little late is made late, and one that is `CATCH_UP_S` late is never made; the
number of the picture goes on with the time. Otherwise every picture is made, exactly once.

Not for: what is in the picture (see `kinestream.testcard`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import partial

from kinestream.testcard import TestCard
from kinestream.video import Image
from kinestream_ingest.pacing import CATCH_UP_S, Clock, Pace
from kinestream_ingest.sources.source import SourceFrame

_log = logging.getLogger(__name__)


class TestCardSource:
    """The pictures that a `testcard://` URL asks for, with `media_time_s` on the card's own clock.

    `captured_us` is the wall clock when the picture is made; unpaced it counts from the start, as of a
    file. With `loop` the pictures repeat, and so can be drawn and encoded beforehand: a load test then
    costs next to nothing. Raises `SourceError` for an unknown option or value.
    """

    __test__ = False  # pytest: not a test, in spite of its name

    name = "testcard"
    live = True
    returns = False
    clock = "made"

    def __init__(self, url: str, pace: Pace = "camera") -> None:
        self._card = TestCard.parse(url)
        self._pace = pace
        self._clock = Clock()
        self.description = url
        self.width, self.height = self._card.width, self._card.height
        self.frames = self._card.frames
        self.fps = self._card.fps

    def repeats(self) -> Iterator[SourceFrame]:
        """Yield the pictures of one loop; nothing without a loop."""
        for number in range(self._card.loop_frames or 0):
            yield self._frame(number, 0)

    def __iter__(self) -> Iterator[SourceFrame]:
        began_us = time.time_ns() // 1000
        number = 0
        while self._card.frames is None or number < self._card.frames:
            due_s = self._card.frame_time(number)
            late_s = 0.0 if self._pace == "unpaced" else self._clock.wait_until(due_s)
            if self._clock.stopped:
                return
            missed = int(late_s * self._card.fps)  # pictures that are newer, and due as well
            if self._pace == "camera" and late_s > CATCH_UP_S and missed:
                _log.warning(
                    "the machine is %.1f s behind: %d pictures of the card are not made", late_s, missed
                )
                number += missed
                continue
            unpaced_us = began_us + round(1e6 * due_s)
            yield self._frame(number, unpaced_us if self._pace == "unpaced" else time.time_ns() // 1000)
            number += 1

    def _frame(self, number: int, captured_us: int) -> SourceFrame:
        loop = self._card.loop_frames
        return SourceFrame(
            picture=partial(self._draw, number),
            captured_us=captured_us,
            media_time_s=self._card.frame_time(number),
            repeat=None if loop is None else number % loop,
        )

    def _draw(self, number: int, label: str) -> Image:
        return self._card.draw(self._card.frame_time(number), caption=label)

    def close(self) -> None:
        """End the iteration at its next frame."""
        self._clock.stop()
