"""An onnxruntime session for this machine: which device, how many threads, and what it did not say by itself.

The one place that imports onnxruntime. Its CUDA part is kept thin: it was written against the documentation
and has never run on a GPU, only as far as "asked for CUDA, and CUDA did not come up".

Not for: what a model's inputs and outputs mean (see `rtmo.py`).
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from kinestream.errors import EngineError, ModelError, UsageError

logger = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

LOG_ERRORS_ONLY = 3
"""onnxruntime's log level. Its default warns at every run of a file whose number of people varies."""


def open_session(path: Path, *, device: str = "auto", threads: int | None = None) -> Any:
    """Open an `onnxruntime.InferenceSession`; `device` and `threads` as `open_engine` takes them.

    Raises `UsageError` for another `device` or `threads` below 1, `ModelError` if the file is no model that
    onnxruntime can run, `EngineError` if CUDA was asked for and is not there or did not come up. With `auto`,
    a CUDA that does not come up is a warning and the CPU takes over.
    """
    _import_onnxruntime()
    index = _cuda_index(device)
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    if index is not None:
        try:
            return _cuda_session(path, index, threads)
        except EngineError as error:
            on_cpu = _cpu_session(path, threads)  # a broken file is no fault of the device: this says so
            if device != "auto":
                raise
            logger.warning("%s; using the CPU", error)
            return on_cpu
    return _cpu_session(path, threads)


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


def _cuda_index(device: str) -> int | None:
    """The index of the GPU to try, None for the CPU."""
    if device == "cpu":
        return None
    if device == "auto":
        return 0 if CUDA in _import_onnxruntime().get_available_providers() else None
    asked = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", device)
    if asked is None:
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    return int(asked[1] or 0)


def _options(threads: int | None) -> Any:
    options = _import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = LOG_ERRORS_ONLY
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


def _cuda_session(path: Path, index: int, threads: int | None) -> Any:
    """A session on one GPU, or `EngineError`: by itself onnxruntime would quietly come up on the CPU."""
    onnxruntime = _import_onnxruntime()
    if CUDA not in onnxruntime.get_available_providers():
        raise EngineError(f"cuda:{index}: this onnxruntime has no CUDA (the package onnxruntime-gpu has it)")
    # Batches come in every size; the default search would time all algorithms anew for each of them.
    on_gpu = (CUDA, {"device_id": str(index), "cudnn_conv_algo_search": "HEURISTIC"})
    try:
        onnxruntime.preload_dlls()  # CUDA and cuDNN from pip's nvidia-* packages, where they are installed
        session = onnxruntime.InferenceSession(
            path, _options(threads), providers=[on_gpu, CPU], enable_fallback=0
        )
    except Exception as error:
        raise EngineError(f"cuda:{index} did not come up: {first_line(error)}") from error
    if session.get_providers()[0] != CUDA:
        raise EngineError(
            f"cuda:{index} did not come up: onnxruntime fell back to {session.get_providers()[0]}"
        )
    return session
