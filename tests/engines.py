"""An engine whose behaviour a test decides: it waits, fails or hangs on command, and finds one person a
frame.

Not for: poses; tests of those run the real engine on real graphs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError
from kinestream.messages import Person
from kinestream_workers.preprocess import Letterbox


class ScriptedEngine:
    """Batches wait at `gate`; a batch with a picture of a grey value in `poison` fails, every one if
    `broken`.

    `batches` lists the grey values of each batch that was inferred. The person's box begins at the grey
    value.
    """

    name = "scripted"
    skeleton = "coco17"
    input_size = (64, 64)
    description = "an engine that a test wrote"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.poison: set[int] = set()
        self.broken = False
        self.batches: list[list[int]] = []
        self.arrived = 0

    def new_batch(self, size: int) -> NDArray[np.float32]:
        return np.zeros((size, 3, 64, 64), np.float32)

    def warm_up(self, max_batch: int) -> dict[int, float]:
        return {max_batch: 0.0}

    def infer(
        self, tensor: NDArray[np.float32], letterboxes: Sequence[Letterbox]
    ) -> list[tuple[Person, ...]]:
        self.arrived += 1
        self.gate.wait()
        greys = [round(float(image[:, :40, :40].mean())) for image in tensor[: len(letterboxes)]]
        if self.broken or self.poison.intersection(greys):
            raise EngineError("the test said so")
        self.batches.append(greys)
        keypoints = ((1.0, 2.0, 0.9),) * 17
        return [(Person(box=(grey, 0.0, grey + 1.0, 1.0), score=0.9, keypoints=keypoints),) for grey in greys]
