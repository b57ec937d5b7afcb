"""An engine for Kinestream: each bright spot of a picture is a "person" of one keypoint, its centre.

Its model is a text file, such as ball.blob, with the brightness that a spot must exceed. Not for: people.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2

from kinestream import EngineError, ModelError, Person
from kinestream.messages import MAX_PEOPLE
from kinestream_workers.engines import EngineOptions, Image


class BlobEngine:
    suffixes: ClassVar[tuple[str, ...]] = (".blob",)
    skeleton = "spot1"  # no name that others use: their keypoints mean something else

    def __init__(self, path: Path, options: EngineOptions) -> None:
        if options.require_device and options.device != "cpu":
            raise EngineError(f"{options.device} did not come up: the engine blob runs on the CPU only")
        try:
            self._brighter_than = int(path.read_text())
        except ValueError as error:
            raise ModelError(f"{path} is no blob model, wanted a number from 0 to 255: {error}") from error
        self.name = path.stem
        self.description = f"blob {self.name} on CPU, brighter than {self._brighter_than}"

    def new_batch(self, size: int) -> list[Any]:
        return [None] * size

    def fill(self, batch: list[Any], slot: int, image: Image) -> None:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        batch[slot] = cv2.threshold(grey, self._brighter_than, 255, cv2.THRESH_BINARY)[1]

    def infer(self, batch: list[Any], slots: Sequence[int]) -> list[tuple[Person, ...]]:
        return [_spots(batch[slot]) for slot in slots]

    def close(self) -> None:
        pass


def _spots(bright: Any) -> tuple[Person, ...]:
    """The spots of one picture, largest first, in its pixels, whose corner is (0, 0)."""
    _, _, stats, centres = cv2.connectedComponentsWithStats(bright)
    order = sorted(range(1, len(stats)), key=lambda spot: -stats[spot][cv2.CC_STAT_AREA])  # 0 is the rest
    people = []
    for x, y, width, height, _, cx, cy in ((*stats[i].tolist(), *centres[i].tolist()) for i in order):
        keypoint = (cx + 0.5, cy + 0.5, 1.0)  # OpenCV's (0, 0) is the centre of the first pixel
        people.append(Person(box=(x, y, x + width, y + height), score=1.0, keypoints=(keypoint,)))
    return tuple(people[:MAX_PEOPLE])
