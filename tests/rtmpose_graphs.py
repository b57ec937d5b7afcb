"""ONNX files with the inputs and outputs of a person detector and of RTMPose, for tests: the official ones
cannot be had.

`detector` finds boxes that follow the image, of people who overlap, with scores around the limit; `poses`
gives SimCC answers that follow the crop, pixel by pixel. Neither knows anything about people.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto

from rtmo_graphs import GRID, Graph

CANDIDATES = 12
_FEATURES = 3 * GRID * GRID


def detector(
    path: Path, *, batch: int | None = None, size: tuple[int, int] = (416, 416), seed: int = 4
) -> Path:
    """Write a detector; `size` is (height, width), `batch` None is a dynamic axis."""
    height, width = size
    random = np.random.default_rng(seed)
    g = Graph()
    cells = (height // GRID, width // GRID)
    means = g.add("AveragePool", "input", kernel_shape=cells, strides=cells)
    content = g.add("Mul", g.add("Sub", g.add("Flatten", means), g.constant(114.0)), g.constant(1 / 128))

    def learned(*shape: int, gain: float = 1.0) -> str:
        weights = random.standard_normal((_FEATURES, int(np.prod(shape)))) * gain
        return g.add(
            "Reshape", g.add("MatMul", content, g.constant(weights)), g.constant(np.array([-1, *shape]))
        )

    lengths = np.array([width, height])
    middles = g.constant(random.uniform(0.1, 0.9, (CANDIDATES, 2)) * lengths)
    centres = g.add(
        "Add", middles, g.add("Mul", g.add("Tanh", learned(CANDIDATES, 2)), g.constant(lengths * 0.2))
    )
    halves = g.add(
        "Mul",
        g.add("Add", g.add("Tanh", learned(CANDIDATES, 2)), g.constant(1.2)),
        g.constant(lengths * 0.15),
    )
    corners = g.add("Concat", g.add("Sub", centres, halves), g.add("Add", centres, halves), axis=2)
    scores = g.add("Sigmoid", g.add("Add", learned(CANDIDATES, 1), g.constant(-1.0)))
    g.add("Concat", corners, scores, axis=2, name="dets")
    return g.save(
        path,
        (batch or "batch", 3, height, width),
        outputs={"dets": (TensorProto.FLOAT, (batch or "batch", CANDIDATES, 5))},
    )


def poses(
    path: Path,
    *,
    batch: int | None = None,
    keypoints: int = 17,
    size: tuple[int, int] = (256, 192),
    split: int = 2,
    seed: int = 5,
) -> Path:
    """Write RTMPose's inputs and outputs: answers by column and by row of the crop, some of them below 0."""
    height, width = size
    random = np.random.default_rng(seed)
    g = Graph()
    for name, axis, length in (("simcc_x", 2, width), ("simcc_y", 3, height)):
        profile = g.add("ReduceMean", "input", g.constant(np.array([axis])), keepdims=0)  # [P, 3, length]
        weights = g.constant(random.standard_normal((keypoints, 3)))
        seen = g.add("MatMul", weights, profile)  # [P, K, length]
        finer = g.constant(random.standard_normal((length, split * length)) / length)
        g.add(
            "Add",
            g.add("MatMul", seen, finer),
            g.constant(random.uniform(-0.2, 0.1, (keypoints, 1))),
            name=name,
        )
    axis_p = batch or "batch"
    return g.save(
        path,
        (axis_p, 3, height, width),
        outputs={
            "simcc_x": (TensorProto.FLOAT, (axis_p, keypoints, split * width)),
            "simcc_y": (TensorProto.FLOAT, (axis_p, keypoints, split * height)),
        },
    )


def pair(folder: Path, detector_path: Path, poses_path: Path, name: str = "people") -> Path:
    """Write the file that names both."""
    path = folder / f"{name}.rtmpose"
    path.write_text(f'detector = "{detector_path}"\npose = "{poses_path}"\n')
    return path
