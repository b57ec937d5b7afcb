"""The dense part of RTMO-s as ONNX operators with random weights: backbone, neck, the head's convolutions.

Shapes are those of mmpose's configuration of rtmo-s (body7, 640x640): CSPDarknet of depth 0.33 and width 0.5,
a hybrid encoder of 256 channels, head levels at strides 16 and 32. Batch normalisation is folded into the
convolutions and the RepVGG blocks are one convolution each, as in an exported file.

Not for: what is made of the head's outputs (`rtmo_poses.py`), nor for weights that know anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinestream_workers.graphs.nodes import Nodes, Value

SIDE = 640
HIDDEN = 256
HEADS, FEED_FORWARD = 8, 1024
STRIDES = (16, 32)
GROUPS, POSE_CHANNELS, POSE_VECTOR = 8, 144, 256
JOINTS = 17

INPUT_SCALE = 1 / 128
"""Pixels reach 255: scaled in the first layer's weights, so that activations are about 1."""

_OUTPUT_GAIN = 0.05
"""The outputs stay near 0, so that boxes, which are exponentials of them, have sizes of people."""


class Random:
    """Layers with seeded random weights, of a variance that keeps activations about equal in size."""

    def __init__(self, n: Nodes, seed: int) -> None:
        self.n = n
        self._random = np.random.default_rng(seed)

    def weights(self, *shape: int, fan_in: int, gain: float = 1.0) -> Value:
        scale = gain * np.sqrt(2 / fan_in)
        return self.n.floats(self._random.normal(size=shape) * scale)

    def bias(self, channels: int, mean: float = 0.0) -> Value:
        return self.n.floats(mean + self._random.normal(size=channels) * 0.01)

    def conv(
        self,
        x: Value,
        inputs: int,
        outputs: int,
        side: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        swish: bool = True,
        gain: float = 1.0,
    ) -> Value:
        """A convolution that keeps the size, or halves it with stride 2, as a rule with Swish after it."""
        fan_in = inputs // groups * side * side
        made = self.n.call(
            "Conv",
            x,
            self.weights(outputs, inputs // groups, side, side, fan_in=fan_in, gain=gain),
            self.bias(outputs),
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2] * 4,
            group=groups,
        )
        return made * self.n.call("Sigmoid", made) if swish else made

    def linear(self, x: Value, inputs: int, outputs: int, *, gain: float = 0.7) -> Value:
        return x @ self.weights(inputs, outputs, fan_in=inputs, gain=gain) + self.bias(outputs)

    def norm(self, x: Value, channels: int) -> Value:
        """Layer normalisation over the last axis."""
        one = self.bias(channels, mean=1.0)
        return self.n.call("LayerNormalization", x, one, self.bias(channels), axis=-1)


def backbone(r: Random, picture: Value) -> list[Value]:
    """CSPDarknet's features at strides 8, 16, 32 of the picture (B, 3, 640, 640): 128, 256, 512 channels."""
    n = r.n
    # Every second pixel of every second row, four times over: the stem sees 12 channels at half the size.
    rows = [_every_second(n, picture, start, axis=2) for start in (0, 1)]
    quarters = [_every_second(n, row, start, axis=3) for start in (0, 1) for row in rows]
    x = r.conv(n.concat(*quarters, axis=1), 12, 32, 3, gain=INPUT_SCALE)
    features = []
    for stage, (channels, blocks) in enumerate(((64, 1), (128, 3), (256, 3), (512, 1))):
        x = r.conv(x, channels // 2, channels, 3, stride=2)
        if stage == 3:
            x = _pyramid_pooling(r, x, channels)
        x = _stage(r, x, channels, blocks, shortcut=stage < 3)
        features.append(x)
    return features[1:]


def neck(r: Random, features: list[Value]) -> list[Value]:
    """The hybrid encoder's features at strides 16 and 32, 256 channels each."""
    n = r.n
    low, middle, high = (
        r.conv(feature, channels, HIDDEN, swish=False)
        for feature, channels in zip(features, (128, 256, 512), strict=True)
    )
    inner = [_transformer(r, high)]
    for beside in (middle, low):  # top down
        inner[0] = r.conv(inner[0], HIDDEN, HIDDEN)
        inner.insert(0, _fused(r, n.concat(_doubled(n, inner[0]), beside, axis=1)))
    outs = [inner[0]]
    for beside in inner[1:]:  # bottom up
        smaller = r.conv(outs[-1], HIDDEN, HIDDEN, 3, stride=2)
        outs.append(_fused(r, n.concat(smaller, beside, axis=1)))
    return [r.conv(out, HIDDEN, HIDDEN, swish=False) for out in outs[1:]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the head says of each of the 2,000 places: (B, 2000, 1), (…, 4), (…, 17) and (…, 256)."""

    scores: Value
    boxes: Value
    visibilities: Value
    poses: Value


def head(r: Random, levels: list[Value]) -> Candidates:
    """At each level, two stacked convolutions for the scores, and twice two, in groups, for the rest."""
    n, half = r.n, HIDDEN // 2
    found: list[list[Value]] = [[], [], [], []]
    for level in levels:
        x, y = n.split(level, 2, axis=1)
        for _ in range(2):
            x = r.conv(x, half, half, 3)
        y = r.conv(y, half, POSE_CHANNELS, 3)
        for _ in range(3):
            y = r.conv(y, POSE_CHANNELS, POSE_CHANNELS, 3, groups=GROUPS)
        found[0].append(_rows(n, r.conv(x, half, 1, swish=False, gain=_OUTPUT_GAIN), 1))
        for outputs, channels in zip(found[1:], (4, JOINTS, POSE_VECTOR), strict=True):
            made = r.conv(y, POSE_CHANNELS, channels, swish=False, gain=_OUTPUT_GAIN)
            outputs.append(_rows(n, made, channels))
    return Candidates(*(n.concat(*outputs, axis=1) for outputs in found))


def _every_second(n: Nodes, x: Value, start: int, *, axis: int) -> Value:
    whole = np.iinfo(np.int32).max
    return n.call("Slice", x, *(n.ints([part]) for part in (start, whole, axis, 2)))


def _stage(r: Random, x: Value, channels: int, blocks: int, *, shortcut: bool) -> Value:
    """A cross-stage-partial layer: half of the channels go through the blocks, the other half around them."""
    half = channels // 2
    main, around = r.conv(x, channels, half), r.conv(x, channels, half)
    for _ in range(blocks):
        made = r.conv(r.conv(main, half, half), half, half, 3)
        main = main + made if shortcut else made
    return r.conv(r.n.concat(main, around, axis=1), channels, channels)


def _pyramid_pooling(r: Random, x: Value, channels: int) -> Value:
    half = channels // 2
    x = r.conv(x, channels, half)
    pooled = [
        r.n.call("MaxPool", x, kernel_shape=[side] * 2, strides=[1, 1], pads=[side // 2] * 4)
        for side in (5, 9, 13)
    ]
    return r.conv(r.n.concat(x, *pooled, axis=1), half * 4, channels)


def _fused(r: Random, x: Value) -> Value:
    half = HIDDEN // 2
    main = r.conv(r.conv(x, 2 * HIDDEN, half), half, half, 3)
    return r.conv(main + r.conv(x, 2 * HIDDEN, half), half, HIDDEN)


def _doubled(n: Nodes, x: Value) -> Value:
    scales = n.floats([1, 1, 2, 2])
    none = Value(n, "", np.float32)
    how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    return n.call("Resize", x, none, scales, **how)


def _rows(n: Nodes, x: Value, channels: int) -> Value:
    """(B, C, H, W) as (B, H·W, C)."""
    return n.call("Transpose", x.reshape(0, channels, -1), perm=[0, 2, 1])


def _transformer(r: Random, x: Value) -> Value:
    """One encoder layer over the 400 places of stride 32: 8 heads, 1,024 feed-forward channels."""
    n, side, width = r.n, SIDE // 32, HIDDEN // HEADS
    tokens = _rows(n, x, HIDDEN)
    placed = tokens + r.weights(1, side * side, HIDDEN, fan_in=2)

    def heads(source: Value) -> Value:
        split = r.linear(source, HIDDEN, HIDDEN).reshape(0, side * side, HEADS, width)
        return n.call("Transpose", split, perm=[0, 2, 1, 3])

    query, key, value = heads(placed), heads(placed), heads(tokens)
    weights = (query @ n.call("Transpose", key, perm=[0, 1, 3, 2])) * (1 / np.sqrt(width))
    seen = n.call("Softmax", weights, axis=-1) @ value
    joined = n.call("Transpose", seen, perm=[0, 2, 1, 3]).reshape(0, side * side, HIDDEN)
    tokens = r.norm(tokens + r.linear(joined, HIDDEN, HIDDEN), HIDDEN)
    wide = r.linear(tokens, HIDDEN, FEED_FORWARD)
    gelu = wide * 0.5 * (n.call("Erf", wide * (1 / np.sqrt(2))) + 1.0)
    tokens = r.norm(tokens + r.linear(gelu, FEED_FORWARD, HIDDEN), HIDDEN)
    return n.call("Transpose", tokens, perm=[0, 2, 1]).reshape(0, HIDDEN, side, side)
