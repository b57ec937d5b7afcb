"""OpenVINO as a runtime for ONNX files on a CPU: the way to bf16, for CPUs that have it.

It is the package `openvino` itself, an extra, beside onnxruntime: `onnxruntime-openvino` would take the place
of onnxruntime. Only the constructor imports it.

Not for: OpenVINO's other devices, nor for what a network's numbers mean.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError, ModelError
from kinestream_workers.engines.engine import EngineOptions
from kinestream_workers.engines.runtime import Declared
from kinestream_workers.engines.sessions import cause, first_line, usable_cores

logger = logging.getLogger(__name__)

_INSTALL = "pip install 'kinestream[openvino]'"
_TELEMETRY = "openvino_telemetry"

_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
"""OpenVINO's names of our precisions."""

_KINDS = {"f32": "float", "f16": "float16", "f64": "double", "i32": "int32", "i64": "int64", "u8": "uint8"}
"""ONNX's names of OpenVINO's element types, for messages."""


class OpenvinoRunner:
    """One file, compiled for the CPU (see `kinestream_workers.engines.runtime.Runner` for the methods).

    Raises what `open_runner` raises.
    """

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self._openvino = openvino = _import_openvino()
        self._threads = options.threads or usable_cores()
        try:
            # By its own choice it tries one reader after another, of which some complain on stderr.
            reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            model = reader.convert(reader.load(str(path)))
            settings = _settings(self._threads, options.precision)
            self._compiled = core().compile_model(model, "CPU", settings)
        except Exception as error:  # a RuntimeError, whatever it was
            raise ModelError(
                f"OpenVINO cannot load {path}: {cause(error)} (--runtime onnxruntime may be able to)"
            ) from error
        self._request = self._compiled.create_infer_request()
        self.inputs = [_declared(port) for port in model.inputs]
        self.outputs = [_declared(port) for port in model.outputs]
        self.precision = self._came_up(options)

    @property
    def where(self) -> str:
        """E.g. `OpenVINO CPU, bf16, 2 threads`."""
        return f"OpenVINO CPU, {self.precision}, {self._threads} thread{'s'[: self._threads != 1]}"

    def run(self, outputs: Sequence[str], images: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Run on `images` where they lie, without a copy; the GIL is free until it is done."""
        self._request.set_input_tensor(self._openvino.Tensor(images, shared_memory=True))
        self._request.start_async()
        self._request.wait()
        return [self._request.get_tensor(name).data.copy() for name in outputs]

    def _came_up(self, options: EngineOptions) -> str:
        """The precision that it really computes in: where a CPU has no other, OpenVINO takes f32 without a
        word.

        Raises `EngineError` if that is not the one that was required.
        """
        got = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        precision = next((ours for ours, theirs in _TYPES.items() if theirs == got), str(got))
        if precision != options.precision:
            complaint = f"precision {options.precision}: this CPU cannot compute in it"
            if options.require_device:
                raise EngineError(complaint)
            logger.warning("%s; using %s", complaint, precision)
        return precision


@functools.cache
def core() -> Any:
    """OpenVINO's `Core`, one for as long as the process lives.

    Each core gives the main thread a stack for signals (`sigaltstack`), and puts back the one before when it
    goes. If the older of two goes first, what is put back was freed, and the next signal ends the process
    (seen with OpenVINO 2026.4).
    """
    return _import_openvino().Core()


def _settings(threads: int, precision: str) -> dict[str, Any]:
    return {
        # By its own choice OpenVINO computes in bf16 wherever a CPU has it: fp32 has to be asked for as well.
        "INFERENCE_PRECISION_HINT": _TYPES[precision],
        "INFERENCE_NUM_THREADS": threads,
        # One batch at a time, as fast as it can be.
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Pinned threads all begin at the first core, so that workers beside one another would share it.
        "ENABLE_CPU_PINNING": False,
    }


def _import_openvino() -> Any:
    # OpenVINO reports each import to its maker (versions, system), by a package of its own, and leaves an
    # identifier in the user's home. It does without where that package is not installed: so it sees none.
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"OpenVINO cannot be imported ({first_line(error)}): {_INSTALL}") from error
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]
    return openvino


def _declared(port: Any) -> Declared:
    kind = port.element_type.get_type_name()
    shape = None
    if port.partial_shape.rank.is_static:
        shape = tuple(None if length.is_dynamic else length.get_length() for length in port.partial_shape)
    name = port.any_name if port.names else "?"
    return Declared(name, _KINDS.get(kind, kind), shape)
