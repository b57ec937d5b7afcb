"""YOLOX, finding people: the first of two stages.

The contract of a file, as rtmlib's zoo has it, with NMS in the graph: `input` float32 [B, 3, H, W], BGR
0–255, letterboxed top-left with 114; `dets` [B, N, 5] (x1, y1, x2, y2, score) in pixels of the input. B is
dynamic or fixed (the published ones: 1), N varies. Its boxes are those of rtmlib's `YOLOX` class; a test
holds that.

Not for: files without NMS, or of many classes; nor for keypoints (`rtmpose.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError
from kinestream.messages import MAX_PEOPLE
from kinestream_workers.engines.engine import EngineOptions
from kinestream_workers.engines.network import Network, check_finite, rows_of

MIN_SCORE = np.float32(0.3)
"""A box must score more than this: rtmlib's number for files with NMS inside, beyond its `score_thr`."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """The N people of one image: `corners` [N, 4] in its pixels, and `scores` [N]; best first."""

    corners: NDArray[np.float32]
    scores: NDArray[np.float32]


class PersonDetector:
    """One YOLOX file. Raises `ModelError` if the file breaks the contract, and what `open_runner` raises."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self.network = Network(path, options, "person detector of YOLOX's")
        self.network.declared("dets", ("B", "N", 5))

    def find(self, tensor: NDArray[np.float32], slots: Sequence[int], ratios: Sequence[float]) -> list[Boxes]:
        """The people in the letterboxed images of these slots; `ratios` are network pixels per image pixel.

        Raises `EngineError`.
        """
        found: list[Boxes] = []
        for part in self.network.chunks(len(slots)):
            chunk = slots[part]
            (dets,) = self.network.run(["dets"], rows_of(tensor, chunk))
            batch = self.network.fixed_batch or len(chunk)
            if dets.ndim != 3 or (dets.shape[0], dets.shape[2]) != (batch, 5):
                raise EngineError(
                    f"{self.network.name} gave dets {list(dets.shape)} for a batch of {batch}, "
                    f"wanted [{batch}, N, 5]"
                )
            found += map(_boxes, dets, ratios[part])  # ends with the ratios: what fills up the axis has none
        return found


def _boxes(dets: NDArray[np.float32], ratio: float) -> Boxes:
    """One image's rows [N, 5]; equal scores stay in the network's order."""
    scores = dets[:, 4]
    kept = np.flatnonzero(scores > MIN_SCORE)
    kept = kept[np.argsort(-scores[kept], kind="stable")][:MAX_PEOPLE]  # a record holds no more
    corners = dets[kept, :4] / np.float32(ratio)
    check_finite(corners, scores[kept])
    return Boxes(corners, scores[kept])
