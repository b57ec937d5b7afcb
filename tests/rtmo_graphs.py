"""ONNX files with RTMO's inputs and outputs, for tests that need other people than the test card's.

`crowd` follows the image: many overlapping boxes, another N at every content and batch, padding rows, nobody
on a blank image. `constant` gives the same rows for every image. Neither knows anything about people.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CANDIDATES = 48
JOINTS = 17
GRID = 4
"""An image is seen as the means of GRID × GRID cells in three colours."""

_FEATURES = 3 * GRID * GRID
_WEAK = 0.4
"""Candidates below this score become padding. RTMO's own number is 0.05; a higher one makes more padding."""


class Graph:
    """A graph under construction; names of values are what is passed around."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[np.generic] | float | int) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: object) -> str:
        made = [
            name or f"{operator}_{len(self.nodes)}",
            *(f"{len(self.nodes)}_{i}" for i in range(1, outputs)),
        ]
        self.nodes.append(helper.make_node(operator, inputs, made, **attributes))
        return made[0]

    def last_output(self) -> str:
        return str(self.nodes[-1].output[-1])

    def save(
        self,
        path: Path,
        shape: tuple[object, ...],
        *,
        inputs: dict[str, tuple[int, tuple[object, ...]]] | None = None,
        outputs: dict[str, tuple[int, tuple[object, ...] | None]] | None = None,
    ) -> Path:
        declared_in = inputs or {"input": (TensorProto.FLOAT, shape)}
        declared_out = outputs or {
            "dets": (TensorProto.FLOAT, (shape[0], "people", 5)),
            "keypoints": (TensorProto.FLOAT, (shape[0], "people", JOINTS, 3)),
        }
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(name, *declared) for name, declared in declared_in.items()],
            [helper.make_tensor_value_info(name, *declared) for name, declared in declared_out.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, path)
        return path


def crowd(
    path: Path,
    *,
    batch: int | None = None,
    size: tuple[int, int] = (640, 640),
    at_least: int = 1,
    seed: int = 1,
) -> Path:
    """Write a graph whose people follow the image; `size` is (height, width), `batch` None is a dynamic axis.

    `at_least` is the smallest N: rtmlib cannot read an output without rows.
    """
    height, width = size
    random = np.random.default_rng(seed)
    g = Graph()
    cells = (height // GRID, width // GRID)
    means = g.add("AveragePool", "input", kernel_shape=cells, strides=cells)
    content = g.add("Mul", g.add("Sub", g.add("Flatten", means), g.constant(114.0)), g.constant(1 / 128))

    def learned(*shape: int, gain: float = 1.0) -> str:
        weights = random.standard_normal((_FEATURES, int(np.prod(shape)))) * gain
        product = g.add("MatMul", content, g.constant(weights))
        return g.add("Reshape", product, g.constant(np.array([-1, *shape], np.int64)))

    groups = random.uniform((0.1, 0.1), (0.9, 0.9), (CANDIDATES // 12, 2)).repeat(12, axis=0)
    moved = g.add("Mul", g.add("Tanh", learned(CANDIDATES, 2)), g.constant(np.array([width, height]) * 0.03))
    centres = g.add("Add", g.constant(groups * (width, height)), moved)
    grown = g.add("Add", g.add("Tanh", learned(CANDIDATES, 2)), g.constant(4.0))
    halves = g.add("Mul", grown, g.constant(np.array([width, height]) * 0.03))
    corners = g.add("Concat", g.add("Sub", centres, halves), g.add("Add", centres, halves), axis=2)
    strengths = g.add("Add", learned(CANDIDATES, gain=1.5), g.constant(-1.0))
    scores = g.add("Sigmoid", strengths)

    offsets = g.constant(random.uniform(-1, 1, (CANDIDATES, JOINTS, 2)))
    axis2 = g.constant(np.array([2], np.int64))
    spread = g.add("Mul", g.add("Unsqueeze", halves, axis2), offsets)
    joints = g.add("Add", g.add("Unsqueeze", centres, axis2), spread)
    joint_scores = g.add("Sigmoid", learned(CANDIDATES, JOINTS, 1))
    keypoints = g.add("Concat", joints, joint_scores, axis=3)

    strong = g.add("Cast", g.add("Greater", scores, g.constant(_WEAK)), to=TensorProto.INT64)
    counts = g.add("ReduceSum", strong, g.constant(np.array([1], np.int64)), keepdims=0)
    most = g.add("ReduceMax", counts, keepdims=1)
    rows = g.add("Max", most, g.constant(np.array([at_least], np.int64)))
    best = g.add("TopK", scores, rows, outputs=2, axis=1)
    where = g.add("Unsqueeze", g.last_output(), axis2)
    real = g.add("Cast", g.add("Greater", best, g.constant(_WEAK)), to=TensorProto.FLOAT)
    real_rows = g.add("Unsqueeze", real, axis2)
    dets = g.add(
        "Concat",
        g.add("GatherND", corners, where, batch_dims=1),
        g.add("Unsqueeze", best, axis2),
        axis=2,
    )
    g.add("Mul", dets, real_rows, name="dets")
    gathered = g.add("GatherND", keypoints, where, batch_dims=1)
    g.add(
        "Mul", gathered, g.add("Unsqueeze", real_rows, g.constant(np.array([3], np.int64))), name="keypoints"
    )
    return g.save(path, (batch or "batch", 3, height, width))


def constant(
    path: Path,
    dets: NDArray[np.float32],
    keypoints: NDArray[np.float32] | None = None,
    *,
    shape: tuple[object, ...] = ("batch", 3, 64, 64),
    inputs: dict[str, tuple[int, tuple[object, ...]]] | None = None,
    outputs: dict[str, tuple[int, tuple[object, ...] | None]] | None = None,
    vague: bool = False,
) -> Path:
    """Write a graph that gives `dets` [N, 5] and `keypoints` [N, 17, 3] (the box's centre unless given).

    `inputs` and `outputs` are what the file declares, name → (ONNX type, shape), where that is to differ.
    With `vague` the shapes of the outputs cannot be inferred, and are not declared unless in `outputs`.
    """
    if keypoints is None:
        centres = (dets[:, None, :2] + dets[:, None, 2:4]) / 2
        keypoints = np.concatenate([centres, np.ones_like(centres[..., :1])], axis=2).repeat(JOINTS, axis=1)
    g = Graph()
    first_input = next(iter(inputs)) if inputs else "input"
    one = g.constant(np.array([0], np.int64)), g.constant(np.array([1], np.int64))
    batch = g.add("Slice", g.add("Shape", first_input), *one)
    for name, rows in (("dets", dets), ("keypoints", keypoints)):
        wanted = g.add("Concat", batch, g.constant(np.array(rows.shape, np.int64)), axis=0)
        if vague:  # not even the number of dimensions is known beforehand
            wanted = g.add("Compress", wanted, g.add("Greater", wanted, g.constant(np.int64(-1))), axis=0)
        g.add("Expand", g.constant(rows[None].astype(np.float32)), wanted, name=name)
    if vague and not outputs:
        outputs = {"dets": (TensorProto.FLOAT, None), "keypoints": (TensorProto.FLOAT, None)}
    return g.save(path, shape, inputs=inputs, outputs=outputs)
