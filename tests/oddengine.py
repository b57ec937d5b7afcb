"""An engine whose people a test decides, for the estimator: no model, no waiting.

Not for: workers (`engines.py` has one that waits and fails on command).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream.errors import EngineError
from kinestream.messages import Person
from kinestream_workers import estimator

Image = NDArray[np.uint8]


class OddEngine:
    """An engine that a test wrote: gives `people` for every picture, and notes the sizes of what it gets."""

    suffixes = (".onnx",)
    name = skeleton = "odd"
    description = "an engine that a test wrote"

    def __init__(self, *people: Person) -> None:
        self.people = people
        self.sizes: list[tuple[int, ...]] = []
        self.closed = 0
        self.broken = False

    def new_batch(self, size: int) -> object:
        return object()

    def fill(self, batch: object, slot: int, image: Image) -> None:
        assert image.flags.c_contiguous
        self.sizes.append(image.shape)

    def infer(self, batch: object, slots: Sequence[int]) -> list[tuple[Person, ...]]:
        if self.broken:
            raise EngineError("the test said so")
        return [self.people for _ in slots]

    def close(self) -> None:
        self.closed += 1


def use_engine(monkeypatch: pytest.MonkeyPatch, *people: Person) -> OddEngine:
    """Return an engine that all estimators made from now on get."""
    engine = OddEngine(*people)
    monkeypatch.setattr(estimator, "open_engine", lambda *_, **__: engine)
    return engine


def person(keypoints: int = 2) -> Person:
    points = tuple((10.0 * number, 20.0, 0.5 + 0.25 * (number % 2)) for number in range(keypoints))
    return Person(box=(1.0, 2.0, 30.0, 40.0), score=0.9, keypoints=points)


def blank(width: int = 640, height: int = 360) -> Image:
    return np.full((height, width, 3), 114, np.uint8)
