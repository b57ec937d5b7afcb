"""Non-maximum suppression: of boxes that overlap too much, only the best-scored stays.

RTMO's files suppress inside the graph already (at 0.05 and 0.5); rtmlib does it again with the stricter
numbers below, and so do we, since the network's users know it by rtmlib's results. Order, threshold and
rounding follow rtmlib's `multiclass_nms`, so that the same boxes survive in the same order.

Not for: linking people over time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_SCORE = 0.7
"""Candidates must score more than this (rtmlib's `score_thr` of `RTMO`)."""

MAX_IOU = 0.45
"""How much a candidate may overlap a better one, intersection over union (rtmlib's `nms_thr` of `RTMO`)."""


def keep_best(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    *,
    min_score: float = MIN_SCORE,
    max_iou: float = MAX_IOU,
) -> NDArray[np.intp]:
    """Indices of the boxes [N, 4] (x1, y1, x2, y2, image pixels) that survive, best score first; maybe none.

    Boxes must be in pixels of the image, not of the network: as in rtmlib, a box from x1 to x2 counts x2 - x1
    + 1 pixels, so the overlap of small boxes depends on the scale.
    """
    candidates = np.flatnonzero(scores > min_score)
    # Ties fall as numpy's default sort lets them fall: the same call as rtmlib's, on the same values.
    ranked = candidates[scores[candidates].argsort()[::-1]]
    # All pairs at once: for the few dozen candidates that there are, a third of the time of going box by box.
    low, high = boxes[ranked, None, :2], boxes[ranked, None, 2:]
    shared = np.maximum(np.minimum(high, high.swapaxes(0, 1)) - np.maximum(low, low.swapaxes(0, 1)) + 1, 0)
    intersections = shared[..., 0] * shared[..., 1]
    areas = (high - low + 1).prod(axis=-1)  # a column [n, 1]
    with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area: 0 / 0 allows no overlap
        allowed = intersections / (areas + areas.T - intersections) <= max_iou
    left = np.ones(len(ranked), bool)
    kept = []
    for rank in range(len(ranked)):
        if left[rank]:
            kept.append(rank)
            left &= allowed[rank]
    return ranked[kept]
