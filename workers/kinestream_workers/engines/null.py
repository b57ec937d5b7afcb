"""An engine that does nothing and finds nobody, at once: what a worker costs without one.

`timed` pays for touching a picture once and takes a stated time; this one does not even look at the pictures.
With frames of the codec `raw`, nothing is left but taking them from Redis and committing them. Its model is
`null`, or any file that ends in .null. Not for: poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kinestream.errors import EngineError
from kinestream.messages import Person
from kinestream_workers.engines.engine import EngineOptions, Image


class NullEngine:
    """The model is a file of whatever content; only its name is told."""

    suffixes: ClassVar[tuple[str, ...]] = (".null",)

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Raise `EngineError` if a device is required."""
        if options.require_device and options.device != "cpu":
            raise EngineError(f"{options.device} did not come up: the engine null computes nothing")
        self._name = path.stem

    @property
    def name(self) -> str:
        return self._name

    @property
    def skeleton(self) -> str:
        return "coco17"

    @property
    def description(self) -> str:
        return f"null {self._name}, computes nothing, finds nobody"

    def new_batch(self, size: int) -> None:
        return None

    def fill(self, batch: None, slot: int, image: Image) -> None:
        pass

    def infer(self, batch: None, slots: Sequence[int]) -> list[tuple[Person, ...]]:
        return [() for _ in slots]

    def close(self) -> None:
        pass
