"""An engine that takes a stated time and finds nobody, for load tests: it stands for a slow model, or a GPU.

It holds each batch for `base_ms` + `per_image_ms` × images by sleeping, which uses no core and lets go of the
GIL, as onnxruntime does while a GPU works. Not for: poses.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import cv2

from kinestream.errors import EngineError, ModelError
from kinestream.messages import Person
from kinestream_workers.engines.engine import EngineOptions, Image

_SIDE = 64
"""A picture is shrunk to this square, so that a load test pays for touching it once, as in earnest."""


class TimedEngine:
    """The model is a file of two lines of TOML: `base_ms = 2` and `per_image_ms = 0.7`, milliseconds."""

    suffixes: ClassVar[tuple[str, ...]] = (".timed",)

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Raise `ModelError` for a file that does not say how long a batch takes."""
        if options.require_device and options.device != "cpu":
            raise EngineError(f"{options.device} did not come up: the engine timed computes nothing")
        self._base_ms, self._per_image_ms = _times(path)
        self._name = path.stem

    @property
    def name(self) -> str:
        return self._name

    @property
    def skeleton(self) -> str:
        return "coco17"

    @property
    def description(self) -> str:
        return (
            f"timed {self._name}, {self._base_ms:g} ms a batch and {self._per_image_ms:g} ms an image, "
            "finds nobody"
        )

    def new_batch(self, size: int) -> list[Image | None]:
        return [None] * size

    def fill(self, batch: list[Image | None], slot: int, image: Image) -> None:
        batch[slot] = cv2.resize(image, (_SIDE, _SIDE))  # type: ignore[assignment]

    def infer(self, batch: list[Image | None], slots: Sequence[int]) -> list[tuple[Person, ...]]:
        time.sleep((self._base_ms + self._per_image_ms * len(slots)) / 1000)
        return [() for _ in slots]

    def close(self) -> None:
        pass


def _times(path: Path) -> tuple[float, float]:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is no timed model: {error}") from error
    if set(given) != {"base_ms", "per_image_ms"}:
        raise ModelError(f"{path} must say base_ms and per_image_ms and nothing else, got {sorted(given)}")
    for name, value in given.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise ModelError(f"{path}: {name} must be milliseconds, 0 or more, got {value!r}")
    return given["base_ms"], given["per_image_ms"]
