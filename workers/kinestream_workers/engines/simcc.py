"""SimCC's answers as keypoints: for each, how likely it lies at each half pixel across, and at each one down.

Not for: cutting people out (`crops.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kinestream_workers.engines.crops import Crop

SPLIT = 2
"""Places per pixel of the network's input (rtmlib's `simcc_split_ratio`)."""


def keypoints_of(
    across: NDArray[np.float32], down: NDArray[np.float32], crops: Sequence[Crop]
) -> NDArray[np.float64]:
    """P people's keypoints [P, K, 3] (x, y, score) in pixels of the pictures that they were cut out of.

    `across` is [P, K, 2 · W] and `down` [P, K, 2 · H]. Each keypoint is at the best of its places, and its
    score the mean of both; where that is not above 0, rtmlib puts it one place before the first, and so do
    we. Source: rtmlib, `RTMPose.postprocess`. Its numbers count from the middle of the picture's first pixel,
    as its crop does, and no half pixel is added to them: what comes out is what rtmlib gives.
    """
    scores = np.float32(0.5) * (across.max(axis=2) + down.max(axis=2))
    places = np.stack([across.argmax(axis=2), down.argmax(axis=2)], axis=2).astype(np.float32)
    places[scores <= 0] = -1
    lengths = np.array((across.shape[2], down.shape[2]), float) / SPLIT
    sizes = np.stack([crop.size for crop in crops])[:, None]
    centres = np.stack([crop.centre for crop in crops])[:, None]
    points = places / np.float32(SPLIT) / lengths * sizes + centres - sizes / 2
    return np.concatenate([points, scores[..., None]], axis=2)
