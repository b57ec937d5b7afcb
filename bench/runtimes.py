"""What runs an ONNX file fastest here, and what another precision changes: the table of docs/engines.md.

    python bench/runtimes.py [--model FILE] [--detector FILE] [--media FOLDER] [--rounds N] [--json]

Time: RTMO's engine in each runtime and precision beside rtmlib's `RTMO` class, letterbox and NMS included, on
one file, in one process, interleaved A B B A, as medians with their quartiles and as ratios to onnxruntime in
fp32, round by round. `--model` is best the graph of RTMO-s's cost that `bench/rtmo_s.py` builds.

Change: boxes in bf16 against fp32, of a detector with real weights on real photographs. Where no CPU has
bf16, it is imitated: what goes into each convolution and each matrix product is rounded to bf16 first, and
sums are fp32.

Not for: the pipeline around an engine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kinestream.video import read_video
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.letterbox import letterbox_into
from kinestream_workers.engines.openvino import OpenvinoRunner
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.engines.sessions import usable_cores
from kinestream_workers.engines.yolox import Boxes, PersonDetector
from kinestream_workers.models import resolve_model

FP32 = EngineOptions(device="cpu")
MULTIPLYING = ("Conv", "MatMul", "Gemm")
FRAMES = ("walker.mp4", "multiperson_cam01.mp4", "multiperson_cam02.mp4", "singleperson_cam01.mp4")
EVERY = 10
"""Of a film's frames, one in so many: its neighbours look the same."""


def times(model: Path, rounds: int, has_bf16: bool) -> dict[str, list[float]]:
    """Milliseconds a picture of each way, at batch 1 and 4."""
    from rtmlib import RTMO

    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(4)]
    options = {"onnxruntime fp32": FP32, "openvino fp32": EngineOptions(runtime="openvino")}
    if has_bf16:
        options["openvino bf16"] = EngineOptions(runtime="openvino", precision="bf16")
    ways: dict[str, Callable[[], int]] = {}
    for name, chosen in options.items():
        engine = RtmoEngine(model, chosen)
        for size in (1,) if engine.fixed_batch else (1, 4):
            ways[f"{name}, batch {size}"] = loop(engine, pictures, size)
    rtmlib = RTMO(str(model), backend="onnxruntime", device="cpu")
    ways["rtmlib RTMO"] = lambda: [rtmlib(picture) for picture in pictures[:1]] and 1
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for turn in range(rounds):
        for name in ways if turn % 2 else reversed(ways):
            begun = time.perf_counter()
            count = ways[name]()
            taken[name].append((time.perf_counter() - begun) * 1000 / count)
    return taken


def ratio(base: list[float], other: list[float]) -> dict[str, float]:
    """How many times as fast, round by round, since a busy machine slows all ways of a round alike."""
    rounds = [one / two for one, two in zip(base, other, strict=True)]
    low, middle, high = statistics.quantiles(rounds, n=4)
    return {"median": round(middle, 2), "p25": round(low, 2), "p75": round(high, 2)}


def loop(engine: RtmoEngine, pictures: list[Any], size: int) -> Callable[[], int]:
    memory = engine.new_batch(size)

    def once() -> int:
        for slot in range(size):
            engine.fill(memory, slot, pictures[slot])
        return len(engine.infer(memory, range(size)))

    return once


def photographs(media: Path) -> Iterator[Any]:
    if (media / "people.jpg").is_file():
        yield cv2.imread(str(media / "people.jpg"))
    for name in FRAMES:
        if (media / name).is_file():
            for frame in itertools.islice(read_video(media / name), 0, None, EVERY):
                yield frame.image


def changes(detector: Path, media: Path, has_bf16: bool) -> dict[str, Any]:
    """How far the boxes of people are from those in fp32, in pixels of the picture."""
    with tempfile.TemporaryDirectory() as folder:
        file = detector if has_bf16 else imitated(detector, Path(folder) / "bf16.onnx")
        other = EngineOptions(runtime="openvino", precision="bf16") if has_bf16 else FP32
        pairs = [PersonDetector(detector, FP32), PersonDetector(file, other)]
        corners, scores, lost, people, pictures = [], [], 0, 0, 0
        for picture in photographs(media):
            exact, rough = (found(each, picture) for each in pairs)
            pictures, people = pictures + 1, people + len(exact.scores)
            for box, score in zip(exact.corners, exact.scores, strict=True):
                away = np.abs(rough.corners - box).max(axis=1, initial=0)
                at = int(away.argmin()) if len(away) else -1
                if at < 0 or away[at] > 0.2 * (box[2:] - box[:2]).max():
                    lost += 1
                    continue
                corners.append(float(away[at]))
                scores.append(float(abs(rough.scores[at] - score)))
    return {
        "bf16": "real" if has_bf16 else "imitated",
        "pictures": pictures,
        "people": people,
        "not found in bf16": lost,
        "corner px": spread(corners),
        "score": spread(scores),
    }


def found(detector: PersonDetector, picture: Any) -> Boxes:
    tensor = detector.network.new_tensor(1, 0)
    (boxes,) = detector.find(tensor, [0], [letterbox_into(picture, tensor[0])])
    return boxes


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "p95": float(np.quantile(values, 0.95)), "max": max(values)}


def imitated(path: Path, into: Path) -> Path:
    """The same network, with what is multiplied rounded to the 8 bits of bf16.

    By Veltkamp's splitting, three operators, since the Cast of older files knows no bf16.
    """
    model = onnx.load(path)
    nodes = []
    for node in model.graph.node:
        if node.op_type in MULTIPLYING:
            for place, name in enumerate(node.input[:2]):
                large, rest, rounded = (
                    f"{node.output[0]}_{place}_{part}" for part in ("large", "rest", "bf16")
                )
                nodes.append(helper.make_node("Mul", [name, "splitter"], [large]))
                nodes.append(helper.make_node("Sub", [large, name], [rest]))
                nodes.append(helper.make_node("Sub", [large, rest], [rounded]))
                node.input[place] = rounded
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(np.float32(2**16 + 1), "splitter"))
    onnx.save(model, into)
    return into


def cpu_has_bf16() -> bool:
    """Ask OpenVINO with a network of one operator."""
    value = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 4, 4])
    weights = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "weights")
    out = helper.make_tensor_value_info("dets", TensorProto.FLOAT, [1, 1, 4, 4])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weights"], ["dets"])], "", [value], [out], [weights]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
        return OpenvinoRunner(path, EngineOptions(runtime="openvino", precision="bf16")).precision == "bf16"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="testcard", help="an RTMO file for the times, or its name")
    parser.add_argument("--detector", type=Path, help="a YOLOX file with real weights, for the change")
    parser.add_argument("--media", type=Path, default=Path("../shared/media"), help="photographs of people")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    has_bf16 = cpu_has_bf16()
    taken = times(resolve_model(given.model), given.rounds, has_bf16)
    told = {
        name: dict(zip(("p25", "p50", "p75"), statistics.quantiles(ms, n=4), strict=True))
        for name, ms in taken.items()
    }
    base = taken["onnxruntime fp32, batch 1"]
    result: dict[str, Any] = {
        "threads": usable_cores(),
        "ms a picture": told,
        "speed": {name: ratio(base, ms) for name, ms in taken.items()},
    }
    if given.detector:
        result["change"] = changes(given.detector, given.media, has_bf16)
    if given.json:
        print(json.dumps(result))
        return
    for name, ms in told.items():
        quartiles = f"({ms['p25']:.1f} to {ms['p75']:.1f})"
        print(f"{name:28} {ms['p50']:7.1f} ms {quartiles}   {result['speed'][name]['median']:.2f} ×")
    print(json.dumps(result.get("change", {}), indent=2))


if __name__ == "__main__":
    main()
