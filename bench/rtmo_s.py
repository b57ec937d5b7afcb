"""A graph that costs what RTMO-s costs, with random weights: for time, never for poses.

    python bench/rtmo_s.py [--batch dynamic|1] [--count]

prints the path of the file, which is built once into the models' cache and never committed; `--count` prints
its parameters and multiplications, counted from the graph. Inputs and outputs are those of an RTMO export,
so that our engine and rtmlib's `RTMO` class both run it. Its boxes and keypoints mean nothing: four people at
random places in every picture. Building needs the package `onnx`, which development installs.

Not for: the layers (`rtmo_layers.py`, `rtmo_poses.py`), nor anything but measuring.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
from pathlib import Path

import onnx
import rtmo_layers
import rtmo_poses
from onnx import TensorProto, helper, numpy_helper

from kinestream_workers.graphs.nodes import Nodes
from kinestream_workers.modelcache import cache_folder

SEED = 640
NAME = "rtmo-s-random-weights"
LABEL = "Random weights in RTMO-s's shape: for measuring time. It does not estimate the pose of people."


def rtmo_s(batch: int | None = None, folder: Path | None = None) -> Path:
    """The file with that batch axis (None: dynamic), built if it is not in the cache yet."""
    sources = [Path(__file__), *(Path(str(part.__file__)) for part in (rtmo_layers, rtmo_poses))]
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    folder = folder or cache_folder() / "bench"
    kind = "dynamic" if batch is None else f"batch{batch}"
    path = folder / f"{NAME}-{kind}-{version[:8]}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(f".{os.getpid()}.part")
        onnx.save(build(batch), written)
        written.replace(path)
        for old in folder.glob(f"{NAME}-{kind}-*.onnx"):
            if old != path:
                old.unlink()
    return path


def build(batch: int | None) -> onnx.ModelProto:
    """The graph for a fixed batch, or for any."""
    n = Nodes()
    random = rtmo_layers.Random(n, SEED)
    levels = rtmo_layers.neck(random, rtmo_layers.backbone(random, n.value("input")))
    rtmo_poses.people(random, rtmo_layers.head(random, levels))
    return _model(n, batch or "batch", rtmo_poses.KEPT)


def nobody(path: Path) -> Path:
    """Write a graph of RTMO's contract that does not look at its input and finds nobody."""
    n = Nodes()
    images = n.value("input").shape().cut(0, 1, axis=0)
    for name, shape in (("dets", [1, 5]), ("keypoints", [1, rtmo_layers.JOINTS, 3])):
        n.call("Expand", n.floats(0.0), n.concat(images, n.ints(shape), axis=0), name=name)
    onnx.save(_model(n, "batch", 1), path)
    return path


def _model(n: Nodes, axis: int | str, rows: int) -> onnx.ModelProto:
    side, joints = rtmo_layers.SIDE, rtmo_layers.JOINTS
    graph = helper.make_graph(
        [helper.make_node(node.operator, node.inputs, node.outputs, **node.attributes) for node in n.nodes],
        NAME,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [axis, 3, side, side])],
        [
            helper.make_tensor_value_info("dets", TensorProto.FLOAT, [axis, rows, 5]),
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [axis, rows, joints, 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in n.constants.items()],
        doc_string=LABEL,
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, producer_name="kinestream", opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def count(path: Path) -> tuple[int, dict[str, int]]:
    """Parameters (all constants of floats), and multiplications by operator for one picture."""
    model = onnx.load(path)
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    axis.ClearField("dim_param")
    axis.dim_value = 1
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    }
    shapes |= {value.name: list(value.dims) for value in model.graph.initializer}
    floats = [value for value in model.graph.initializer if value.data_type == TensorProto.FLOAT]
    multiplications = {"Conv": 0, "MatMul": 0}
    for node in model.graph.node:
        if node.op_type in multiplications:
            second = shapes[node.input[1]]
            per_output = math.prod(second[1:]) if node.op_type == "Conv" else second[-2]
            multiplications[node.op_type] += per_output * math.prod(shapes[node.output[0]])
    return sum(math.prod(value.dims) for value in floats), multiplications


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--batch", default="dynamic", choices=["dynamic", "1"])
    options.add_argument("--count", action="store_true")
    chosen = options.parse_args()
    path = rtmo_s(None if chosen.batch == "dynamic" else int(chosen.batch))
    print(path)
    if chosen.count:
        parameters, multiplications = count(path)
        told = " + ".join(f"{number / 1e9:.2f} ({name})" for name, number in multiplications.items())
        print(f"{parameters / 1e6:.2f} M parameters, {sum(multiplications.values()) / 1e9:.2f} GMAC = {told}")
        print(LABEL)


if __name__ == "__main__":
    main()
