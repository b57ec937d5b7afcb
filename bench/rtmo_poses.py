"""The second part of RTMO-s as ONNX operators with random weights: from candidates to boxes and keypoints.

Non-maximum suppression in the graph with the numbers of the official export (score 0.05, overlap 0.5), the
best 50 by top-k, and for these a coordinate classifier: 17 keypoint features go through a gated attention
unit and are compared with encodings of 192 × 256 bins that lie around each box.

Not for: the convolutions before it (`rtmo_layers.py`).
"""

from __future__ import annotations

import numpy as np
from rtmo_layers import JOINTS, POSE_VECTOR, SIDE, STRIDES, Candidates, Random

from kinestream_workers.graphs.nodes import Node, Nodes, Value

KEPT = 50
PEOPLE = 4
"""Rows above rtmlib's threshold of 0.7 in a picture: random weights would leave that to chance, and what is
done with people after the network (suppression, packing, publishing) would cost now this and now that.
"""

MIN_SCORE, MAX_IOU = 0.05, 0.5
FEATURES = 128
BINS = (192, 256)
BOX_PADDING = 1.25
_TEMPERATURE = 300.0
_HIGH, _LOW = 0.9, 0.3
_USUAL_SIDE = np.log(6.0)
"""Logarithm of a box's usual side in strides: some 100 to 200 pixels of 640."""


def people(r: Random, candidates: Candidates) -> None:
    """Add the outputs `dets` (B, 50, 5) and `keypoints` (B, 50, 17, 3)."""
    n = r.n
    grid, stride = _places()
    scores = n.call("Sigmoid", _standardised(candidates.scores) * 2.0 - 6.0)  # (B, 2000, 1)
    centre = candidates.boxes.cut(0, 2, axis=2) * stride + grid
    size = n.call("Exp", candidates.boxes.cut(2, 4, axis=2) + _USUAL_SIDE) * stride
    corners = n.concat(centre - size * 0.5, centre + size * 0.5, axis=2).clip(0.0, float(SIDE))

    kept = _suppressed(n, corners, n.call("Transpose", scores, perm=[0, 2, 1]))
    where = _best(n, kept).unsqueeze(2)  # (B, 50, 1)

    def chosen(values: Value) -> Value:
        return n.call("GatherND", values, where, batch_dims=1)

    ranked = np.where(np.arange(KEPT) < PEOPLE, _HIGH, _LOW) - 0.001 * np.arange(KEPT)
    real = (chosen(kept) > 0.0).floats()
    n.concat(chosen(corners) * real, n.floats(ranked[None, :, None]) * real, axis=2, name="dets")

    all_places = scores * 0.0 + grid  # (B, 2000, 2): as many copies as there are pictures
    joints = _coordinates(
        r, chosen(candidates.poses), chosen(centre), chosen(size) * BOX_PADDING, chosen(all_places)
    )
    visible = n.call("Sigmoid", chosen(candidates.visibilities)).unsqueeze(3)
    n.concat(joints, visible, axis=3, name="keypoints")


def _standardised(scores: Value) -> Value:
    """So that one place in some twenty passes the threshold in any picture: random weights have no taste."""
    off = scores - scores.reduce("Mean", 1, keep=True)
    variance = (off * off).reduce("Mean", 1, keep=True)
    return off / scores.nodes.call("Sqrt", variance + 1e-9)


def _places() -> tuple[np.ndarray, np.ndarray]:
    """Centre (1, 2000, 2) and stride (1, 2000, 1) of each candidate, in pixels of the input."""
    centres, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: SIDE // stride, : SIDE // stride].reshape(2, -1)
        centres.append((np.stack([x, y], axis=1) + 0.5) * stride)
        strides.append(np.full((len(x), 1), stride))
    return np.concatenate(centres)[None], np.concatenate(strides)[None]


def _suppressed(n: Nodes, corners: Value, scores: Value) -> Value:
    """The scores (B, 2000, 1) of those that survive, 0 for the others."""
    limits = n.ints([KEPT]), n.floats([MAX_IOU]), n.floats([MIN_SCORE])
    survivors = n.call("NonMaxSuppression", corners, scores, *limits, kind=np.int64)  # picture, class, place
    values = n.call("GatherND", scores, survivors)
    nothing = n.call("ConstantOfShape", scores.shape(), kind=np.float32)
    only = n.call("ScatterND", nothing, survivors, values)
    return n.call("Transpose", only, perm=[0, 2, 1])


def _best(n: Nodes, scores: Value) -> Value:
    """Places (B, 50) of the best scores."""
    inputs = scores.squeeze(2).name, n.ints([KEPT]).name
    n.nodes.append(Node("TopK", inputs, ("best_scores", "best_places"), {"axis": 1}))
    return n.value("best_places", np.int64)


def _coordinates(r: Random, poses: Value, centre: Value, size: Value, grid: Value) -> Value:
    """Keypoints (B, 50, 17, 2) in pixels of the input, of pose vectors (B, 50, 256) and padded boxes."""
    n = r.n
    features = r.linear(poses, POSE_VECTOR, JOINTS * FEATURES).reshape(0, 0, JOINTS, FEATURES)
    features = _gated_attention(r, features)
    found = []
    for axis, bins in enumerate(BINS):
        shares = n.floats(np.linspace(-0.5, 0.5, bins)[None, None])  # (1, 1, bins)
        length = size.cut(axis, axis + 1, axis=2)
        middle = centre.cut(axis, axis + 1, axis=2)
        here = grid.cut(axis, axis + 1, axis=2)
        positions = shares * length + (middle - here)  # (B, 50, bins), from the candidate's own place
        encoded = r.linear(_sines(n, positions), FEATURES, FEATURES)
        alike = features @ n.call("Transpose", encoded, perm=[0, 1, 3, 2])  # (B, 50, 17, bins)
        likely = n.call("Softmax", alike, axis=-1)
        at = (likely * positions.unsqueeze(2)).reduce("Sum", 3)
        found.append((at + here).unsqueeze(3))
    return n.concat(*found, axis=3)


def _sines(n: Nodes, positions: Value) -> Value:
    """Sines and cosines of 64 frequencies each, (…, 128)."""
    frequencies = _TEMPERATURE ** (-np.arange(FEATURES // 2) / (FEATURES // 2))
    angles = positions.unsqueeze(3) * n.floats(frequencies)
    return n.concat(n.call("Sin", angles), n.call("Cos", angles), axis=3)


def _gated_attention(r: Random, x: Value) -> Value:
    """Attention among the 17 keypoints of a person, gated: features (B, 50, 17, 128) as before."""
    n, wide = r.n, 2 * FEATURES
    made = r.linear(r.norm(x, FEATURES), FEATURES, 2 * wide + FEATURES)
    made = made * n.call("Sigmoid", made)
    gate, value, base = (
        made.cut(0, wide, axis=3),
        made.cut(wide, 2 * wide, axis=3),
        made.cut(2 * wide, 2 * wide + FEATURES, axis=3),
    )
    place = r.weights(JOINTS, FEATURES, fan_in=FEATURES)
    query = base * r.bias(FEATURES, mean=1.0) + r.bias(FEATURES) + place
    key = base * r.bias(FEATURES, mean=1.0) + r.bias(FEATURES) + place
    weights = n.call("Relu", (query @ n.call("Transpose", key, perm=[0, 1, 3, 2])) * (1 / np.sqrt(FEATURES)))
    return x + r.linear(gate * ((weights * weights) @ value), wide, FEATURES)
