"""One picture at a time, as everybody begins: what the loop, the server and the jobs run.

For an .onnx file it is rtmlib's own `RTMO` class; for a .timed one our engine of that kind with batches of
one, so that all contenders wait equally long. Not for: how pictures come here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kinestream_workers.engines import EngineOptions, open_engine


def one_by_one(model: str) -> Callable[[Any], list[Any]]:
    """A function from a picture to people: keypoints and scores, lists of lists."""
    if Path(model).suffix == ".onnx":
        from rtmlib import RTMO

        rtmo = RTMO(model, model_input_size=(640, 640), backend="onnxruntime")

        def people(image: Any) -> list[Any]:
            keypoints, scores = rtmo(image)
            return [keypoints.tolist(), scores.tolist()]

        return people
    engine = open_engine(model, EngineOptions())
    memory = engine.new_batch(1)

    def timed(image: Any) -> list[Any]:
        engine.fill(memory, 0, image)
        return [list(found) for found in engine.infer(memory, [0])]

    return timed


def decode(jpeg: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
