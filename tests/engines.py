"""An engine whose behaviour a test decides: it waits, fails or hangs on command, and finds one person a
frame.

Not for: poses; tests of those run the real engine on real graphs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from kinestream.errors import EngineError
from kinestream.messages import Person
from kinestream_workers.engines import EngineOptions, Image


class ScriptedEngine:
    """Batches wait at `gate`; a batch with a picture of a grey value in `poison` fails, every one if
    `broken`.

    `batches` lists the grey values of each batch that was inferred. The person's box begins at the grey
    value.
    """

    suffixes = (".scripted",)
    name = "scripted"
    skeleton = "coco17"
    description = "an engine that a test wrote"

    def __init__(self, path: Path = Path(), options: EngineOptions | None = None) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.poison: set[int] = set()
        self.broken = False
        self.closed = False
        self.batches: list[list[int]] = []
        self.arrived = 0

    def new_batch(self, size: int) -> list[int]:
        return [0] * size

    def fill(self, batch: list[int], slot: int, image: Image) -> None:
        batch[slot] = round(float(image.mean()))

    def infer(self, batch: list[int], slots: Sequence[int]) -> list[tuple[Person, ...]]:
        self.arrived += 1
        self.gate.wait()
        greys = [batch[slot] for slot in slots]
        if self.broken or self.poison.intersection(greys):
            raise EngineError("the test said so")
        self.batches.append(greys)
        keypoints = ((1.0, 2.0, 0.9),) * 17
        return [(Person(box=(grey, 0.0, grey + 1.0, 1.0), score=0.9, keypoints=keypoints),) for grey in greys]

    def close(self) -> None:
        self.closed = True
