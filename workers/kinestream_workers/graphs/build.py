"""Builds the graphs that read the test card: RTMO's inputs and outputs, but colours instead of a network.

    python -m kinestream_workers.graphs.build

writes testcard-dynamic.onnx (any batch) and testcard-fixed.onnx (batch 1), the same nodes in both. Needs the
package `onnx`, which only development installs; the files are committed, and a test holds that building gives
the same bytes.

Contract (RTMO's): `input` float32 [B, 3, 640, 640], BGR, 0–255, letterboxed at the top left; `dets` [B, 8, 5]
as x1, y1, x2, y2, score; `keypoints` [B, 8, 17, 3] as x, y, score. Both in pixels of the input, (0, 0) being
the corner of the first one: a letterbox maps corners to corners, so dividing by its ratio gives the picture's
pixels. Each athlete comes twice, with different scores, so that non-maximum suppression has work; an athlete
who is not found is a row of zeros, and a joint that is not found lies in the middle of the box with score 0.

Not for: running anything; the engine that runs RTMO files runs these (see engines/rtmo.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kinestream.testcard.palette import JOINTS, MAX_ATHLETES
from kinestream_workers.graphs import GRAPHS, graph_path
from kinestream_workers.graphs.nodes import Nodes, Value
from kinestream_workers.graphs.reading import MARKERS, SIDE, candidates, fine, rough, votes

# The area of a whole disc of radius 4.5, and the part of it below which its centroid says little of where the
# joint is. From there up to the whole disc, the joint's score rises from 0 to 1.
FULL_AREA, MIN_SHOWN = 64.0, 0.4
# Fewer joints are no person: chance never makes so many of one athlete's colours.
MIN_JOINTS = 4.0
# The box exceeds the joints by this part of its longer side: joints end below the top of the head.
BOX_MARGIN = 0.06
# All scores differ, so that which of two boxes is kept never depends on how a sort treats ties.
BEST_SCORE, SCORE_STEP, SECOND_COPY = 0.99, 0.01, 0.05


def build(batch: int | str) -> onnx.ModelProto:
    """The graph for a fixed batch, or for any batch if it is a name."""
    n = Nodes()
    picture = n.value("input")
    pixels = picture.reshape(-1)
    images = picture.shape().cut(0, 1, axis=0)
    marker, adds = votes(n, pixels, *candidates(n, picture))
    nothing = n.call("ConstantOfShape", n.concat(images * MARKERS, n.ints([7]), axis=0), kind=np.float32)
    totals = n.call("ScatterND", nothing, marker, adds, reduction="add")
    _people(n, *fine(n, pixels, images, *rough(n, totals)))

    rows = 2 * MAX_ATHLETES
    graph = helper.make_graph(
        [helper.make_node(node.operator, node.inputs, node.outputs, **node.attributes) for node in n.nodes],
        "testcard",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, [batch, rows, 5]),
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [batch, rows, JOINTS, 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in n.constants.items()],
        doc_string="Reads Kinestream's test card. A test signal: it does not estimate the pose of people.",
    )
    # IR version 8 came with opset 18: any onnxruntime that knows the operators reads it.
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, producer_name="kinestream", opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _people(n: Nodes, x: Value, y: Value, area: Value) -> None:
    """The outputs, from the markers' centres and areas: joints, and boxes around those that were found."""
    score = ((area / FULL_AREA - MIN_SHOWN) / (1 - MIN_SHOWN)).clip(0.0, 1.0)
    x, y, score = (value.reshape(-1, MAX_ATHLETES, JOINTS) for value in (x, y, score))
    found = score > 0.0
    there = found.floats().reduce("Sum", 2, keep=True) >= MIN_JOINTS  # (B, 4, 1)

    beyond = n.floats(2.0 * SIDE)
    low = [n.where(found, value, beyond).reduce("Min", 2, keep=True) for value in (x, y)]
    high = [n.where(found, value, n.floats(-SIDE)).reduce("Max", 2, keep=True) for value in (x, y)]
    x, y = (
        n.where(found, value, (least + most) * 0.5)
        for value, least, most in zip((x, y), low, high, strict=True)
    )
    joints = n.concat(*(value.unsqueeze(3) for value in (x, y, score)), axis=3)
    joints = n.where(there.unsqueeze(3), joints, 0.0)

    width, height = (most - least for least, most in zip(low, high, strict=True))
    margin = n.largest(width, height) * BOX_MARGIN
    box = n.concat(*(least - margin for least in low), *(most + margin for most in high), axis=2)
    copies = []
    for copy in range(2):
        scores = n.floats(
            (BEST_SCORE - SECOND_COPY * copy - SCORE_STEP * np.arange(MAX_ATHLETES))[None, :, None]
        )
        copies.append(n.concat(n.where(there, box, 0.0), n.where(there, scores, 0.0), axis=2))
    n.concat(*copies, axis=1, name="dets")
    n.concat(joints, joints, axis=1, name="keypoints")


def build_bytes(name: str) -> bytes:
    """The file of the graph `testcard-dynamic` or `testcard-fixed`; always the same bytes."""
    model = build(1 if name.endswith("fixed") else "batch")
    return bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    """Write both graphs to where `graph_path` looks for them."""
    for name in GRAPHS:
        Path(graph_path(name)).write_bytes(build_bytes(name))


if __name__ == "__main__":
    main()
