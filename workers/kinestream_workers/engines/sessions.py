"""An onnxruntime session for this machine: which device, how many threads, and what it did not say by itself.

The one place that imports onnxruntime. Accelerators are kept thin: what `devices.py` says of them holds here.

Not for: what a device's name means (`devices.py`), nor what a model must take and give (`network.py`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError, ModelError
from kinestream_workers.download import writing_to
from kinestream_workers.engines.devices import (
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    Device,
    parse_device,
    with_tensorrt,
)
from kinestream_workers.engines.engine import EngineOptions
from kinestream_workers.engines.runtime import Declared

logger = logging.getLogger(__name__)

_LOG_FATAL_ONLY, _LOG_WARNINGS = 4, 2  # onnxruntime's log levels; the second one is its default

BINDING = (CUDA, TENSORRT)
"""Providers with memory of their own, whose inputs and outputs are bound."""

LOG_ERRORS_ONLY = 3
"""onnxruntime's log level with `-v`. Its default warns at every run of a file whose number of people
varies, and without `-v` what fails is an exception, which we tell in a line.
"""


class SessionRunner:
    """One file in one session (see `kinestream_workers.engines.runtime.Runner` for the methods)."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        self._session = session = open_session(path, options)
        self.inputs = [_declared(value) for value in session.get_inputs()]
        self.outputs = [_declared(value) for value in session.get_outputs()]

    @property
    def where(self) -> str:
        """E.g. `CPUExecutionProvider, 2 threads`."""
        threads = self._session.get_session_options().intra_op_num_threads
        return f"{self._session.get_providers()[0]}, {threads} thread{'s'[: threads != 1]}"

    def run(self, outputs: Sequence[str], images: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Run on `images`; a GPU gets them in one copy, and gives back only the outputs that are wanted."""
        name = self.inputs[0].name
        if self._session.get_providers()[0] not in BINDING:
            return list(self._session.run(outputs, {name: images}))
        binding = self._session.io_binding()
        binding.bind_cpu_input(name, images)
        for output in outputs:  # the memory is onnxruntime's, since their size follows from what it finds
            binding.bind_output(output, "cpu")
        self._session.run_with_iobinding(binding)
        return list(binding.copy_outputs_to_cpu())


def open_session(path: Path, options: EngineOptions) -> Any:
    """Open an `onnxruntime.InferenceSession` on the device that was asked for, or with a warning on the CPU.

    Raises `UsageError` for an unknown device, `ModelError` if the file is no model that onnxruntime can run,
    `EngineError` if the device is required and is not there or does not come up.
    """
    device = parse_device(options.device, _import_onnxruntime().get_available_providers())
    if device is None:
        return _cpu_session(path, options.threads)
    try:
        return _device_session(path, device, options)
    except EngineError as error:
        on_cpu = _cpu_session(path, options.threads)  # a broken file is no fault of the device: this says so
        if options.require_device:
            raise
        logger.warning("%s; using the CPU", error)
        return on_cpu


def first_line(error: BaseException) -> str:
    """The first line of a library's error, shortened: onnxruntime's go on for pages."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def usable_cores() -> int:
    """Physical cores that this process may use, by its affinity and its quota.

    Two threads that share a core share its arithmetic units, so a network gains nothing from the second one.
    A container that is limited to 2 CPUs still sees every core of its host, and running more threads than the
    quota has it paused.
    """
    try:
        visible = os.sched_getaffinity(0)
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
    cores = len({_siblings(cpu) for cpu in visible})
    return max(1, min(cores, _quota(Path("/sys/fs/cgroup/cpu.max"), default=cores)))


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quota(cpu_max: Path, default: int) -> int:
    """Whole CPUs of a cgroup v2 limit, a line of `quota period`; `default` where there is none."""
    try:
        quota, period = cpu_max.read_text().split()
        return default if quota == "max" else int(quota) // int(period)
    except (OSError, ValueError):
        return default


def _import_onnxruntime() -> Any:
    # Since 1.29 the official Linux wheels report sessions and model names to their vendor, and leave an
    # identifier in the user's cache. A camera pipeline must not talk to strangers unasked; who wants it sets
    # the variable to 0.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def _options(threads: int | None) -> Any:
    options = _import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = LOG_ERRORS_ONLY if logger.isEnabledFor(logging.DEBUG) else _LOG_FATAL_ONLY
    # By default idle threads spin. On a machine of its own that gains a session a few per cent; beside a
    # second worker, or the decoding of the next batch, not spinning ran 1.4 to 2 times the frames (RTMO-s's
    # size, two busy cores).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _cpu_session(path: Path, threads: int | None) -> Any:
    try:
        return _import_onnxruntime().InferenceSession(
            path, _options(threads), providers=[CPU], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ModelError(f"onnxruntime cannot load {path}: {first_line(error)}") from error


def _device_session(path: Path, device: Device, options: EngineOptions) -> Any:
    """A session on an accelerator, or `EngineError`: onnxruntime by itself would quietly take the CPU."""
    onnxruntime = _import_onnxruntime()
    if device.provider not in onnxruntime.get_available_providers():
        raise EngineError(
            f"{device.name}: this onnxruntime has no {device.provider} (the package {device.package} has it)"
        )
    device = with_tensorrt(device, options.precision, _engines_folder(device))
    threads = options.threads
    providers = [_with_threads(*provider, threads) for provider in device.providers]
    try:
        with _silenced(onnxruntime):
            onnxruntime.preload_dlls()  # CUDA and cuDNN from pip's nvidia-* packages, if they are there
            session = onnxruntime.InferenceSession(
                path, _options(threads), providers=[*providers, CPU], enable_fallback=0
            )
    except Exception as error:
        raise EngineError(f"{device.name} did not come up: {cause(error)}") from error
    came_up = session.get_providers()[0]
    if came_up != device.provider:
        raise EngineError(
            f"{device.name} did not come up, and onnxruntime took {came_up}: its driver or one of its "
            "libraries is missing (kinestream -v shows which)"
        )
    return session


def _engines_folder(device: Device) -> Path:
    """Where TensorRT keeps what it has built: beside the models. Raises `ModelError` if it cannot be made."""
    from kinestream_workers.modelcache import cache_folder

    folder = cache_folder() / "tensorrt"
    if device.provider == TENSORRT:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return folder


def _declared(value: Any) -> Declared:
    """onnxruntime shows an undeclared number of lengths as none, which no array of ours has."""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return Declared(value.name, kind, tuple(value.shape) or None)


def _with_threads(name: str, options: dict[str, Any], threads: int | None) -> tuple[str, dict[str, Any]]:
    """A provider's options; OpenVINO has threads of its own, which the session's number does not reach."""
    if name == OPENVINO:
        options = {**options, "num_of_threads": str(threads or usable_cores())}
    return name, options


@contextlib.contextmanager
def _silenced(onnxruntime: Any) -> Iterator[None]:
    """Keep onnxruntime from telling at length, on stdout and stderr, what we tell in a line; `-v` lets it."""
    if logger.isEnabledFor(logging.DEBUG):
        yield
        return
    onnxruntime.set_default_logger_severity(_LOG_FATAL_ONLY)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_LOG_WARNINGS)


def cause(error: BaseException) -> str:
    """The last line of an error of onnxruntime, without where in C++ it arose."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return re.sub(r"^\S+\.(?:cc|cpp|h|hpp):\d+ .*?\)(?: const)? ", "", lines[-1])[:300].rstrip(".")
