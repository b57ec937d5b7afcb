"""What `--device` means: a word becomes the execution providers that onnxruntime shall try, best first.

The words are rtmlib's where it has one (`cpu`, `cuda`, `cuda:N`, `mps`; `openvino` is a backend there). Only
`cpu` and `openvino` could be tried on the machines that test this; the others were written from onnxruntime's
documentation and are kept thin.

Not for: opening a session (`sessions.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinestream.errors import UsageError

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
COREML = "CoreMLExecutionProvider"

DEVICES = "auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N, openvino or mps"

_PACKAGES = {CUDA: "onnxruntime-gpu", TENSORRT: "onnxruntime-gpu", OPENVINO: "onnxruntime-openvino"}
"""The package in which a provider comes; onnxruntime's own has CoreML, on macOS."""


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator: `providers` are what onnxruntime is given, in order, the CPU being added after them."""

    name: str
    providers: tuple[tuple[str, dict[str, Any]], ...]

    @property
    def provider(self) -> str:
        """The provider that must come up first, or the device has not come up."""
        return self.providers[0][0]

    @property
    def package(self) -> str:
        """The package whose onnxruntime has it."""
        return _PACKAGES.get(self.provider, "onnxruntime for macOS")


def parse_device(text: str, available: list[str]) -> Device | None:
    """The accelerator that `text` names, None for the CPU; `available` are the providers of this onnxruntime.

    `auto` takes CUDA where this onnxruntime has it: the others take minutes to come up, or need to be tried
    first. Raises `UsageError` for another word.
    """
    if text == "auto":
        text = "cuda" if CUDA in available else "cpu"
    asked = re.fullmatch(r"(cpu|openvino|mps|(?:cuda|tensorrt)(?::([0-9]{1,3}))?)", text)
    if asked is None:
        raise UsageError(f"device must be {DEVICES}, got {text!r}")
    index = asked[2] or "0"
    # Batches come in every size; the default search would time all algorithms anew for each of them.
    cuda = (CUDA, {"device_id": index, "cudnn_conv_algo_search": "HEURISTIC"})
    match text.partition(":")[0]:
        case "cuda":
            return Device(f"cuda:{index}", (cuda,))
        case "tensorrt":
            return Device(f"tensorrt:{index}", ((TENSORRT, {"device_id": index}), cuda))
        case "openvino":
            # The CPU by name: `AUTO` might take a graphics unit that happens to be there.
            return Device(text, ((OPENVINO, {"device_type": "CPU"}),))
        case "mps":
            return Device(text, ((COREML, {}),))
        case _:
            return None


def with_tensorrt(device: Device, precision: str, engines: Path) -> Device:
    """The same device, TensorRT being told its precision and a folder for what it has built; else as it is.

    TensorRT builds an engine for a network and a range of batches in minutes, and keeps it there: another
    start takes it from there. The range grows by itself with the batches that come, so that the first
    start's warm-up builds it more than once. A range given beforehand would have to name the inputs of every
    part that TensorRT takes of the network, which is not known before.
    """
    if device.provider != TENSORRT:
        return device
    (name, options), *rest = device.providers
    options = {
        **options,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(engines),
    }
    if precision != "fp32":  # some layers stay in fp32, where TensorRT finds that better
        options[f"trt_{precision}_enable"] = "1"
    return Device(device.name, ((name, options), *rest))
