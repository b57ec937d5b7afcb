"""A graph with RTMO's inputs and outputs that multiplies about as much as RTMO-s, has random weights and
finds nobody.

It costs what convolutions of that number cost on a machine, and says nothing about poses. Not for: RTMO-s's
own layers, whose shapes differ.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 640
CHANNELS, LAYERS = 128, 12
"""3 × 3 convolutions at an eighth of the input's size: 12 of them are 11.3 · 10⁹ multiplications."""


def write_dense_model(path: Path) -> Path:
    """Write the graph and return its path."""
    random = np.random.default_rng(1)
    weights, nodes = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def convolution(source: str, name: str, inputs: int, side: int, stride: int, pad: int) -> str:
        shape = (CHANNELS, inputs, side, side)
        scale = np.sqrt(2 / (inputs * side * side))
        weight = constant(f"{name}_w", (random.normal(size=shape) * scale).astype(np.float32))
        nodes.append(helper.make_node("Conv", [source, weight], [name], strides=[stride] * 2, pads=[pad] * 4))
        nodes.append(helper.make_node("Relu", [name], [f"{name}_on"]))
        return f"{name}_on"

    last = convolution("input", "stem", 3, 8, 8, 0)
    for layer in range(LAYERS):
        last = convolution(last, f"layer{layer}", CHANNELS, 3, 1, 1)
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    zeros = np.zeros(1, np.float32)  # nobody, but not before all of it is computed
    nodes.append(helper.make_node("Mul", ["features", constant("zero", zeros)], ["nobody"]))
    for output, values, shape in (("dets", 5, (-1, 1, 5)), ("keypoints", 51, (-1, 1, 17, 3))):
        start, end, axis = (
            constant(f"{output}_{i}", np.array([v], np.int64)) for i, v in enumerate((0, values, 1))
        )
        nodes.append(helper.make_node("Slice", ["nobody", start, end, axis], [f"{output}_part"]))
        wanted = constant(f"{output}_shape", np.array(shape, np.int64))
        nodes.append(helper.make_node("Reshape", [f"{output}_part", wanted], [output]))
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, ["batch", 1, 5]),
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["batch", 1, 17, 3]),
        ],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
