"""A runtime loads an ONNX file and runs it: onnxruntime, or OpenVINO; the engines do not care which.

Not for: what a runtime does inside (`sessions.py`, `openvino.py`), nor what a file must have (`network.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kinestream_workers.engines.engine import EngineOptions


@dataclass(frozen=True, slots=True)
class Declared:
    """An input or output as the file declares it.

    An open length has a name at most; `shape` is None where not even the number of lengths is known.
    """

    name: str
    kind: str
    """Of its numbers, as ONNX says it: `float`, `int64`, …"""
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        lengths = ("?" if length is None else str(length) for length in self.shape or ())
        return f"{self.name} {self.kind} [{', '.join(lengths)}]"


class Runner(Protocol):
    """A file that is loaded and can be run, from one thread at a time."""

    @property
    def inputs(self) -> Sequence[Declared]:
        """What goes in, as the file declares it."""

    @property
    def outputs(self) -> Sequence[Declared]:
        """What comes out, as the file declares it."""

    @property
    def where(self) -> str:
        """On what it came up, such as `CPUExecutionProvider, 2 threads`."""

    def run(self, outputs: Sequence[str], images: NDArray[np.float32]) -> list[NDArray[Any]]:
        """The outputs of these names for `images`, a contiguous array for the only input; memory of its own.

        Without the GIL while the network runs. Raises whatever the library raises.
        """


def open_runner(path: Path, options: EngineOptions) -> Runner:
    """Load a file with the runtime that was asked for.

    Raises `UsageError` for a device or precision that the runtime has not, `ModelError` if it cannot run the
    file, `EngineError` if it is not installed, or what is required does not come up.
    """
    if options.runtime == "openvino":
        from kinestream_workers.engines.openvino import OpenvinoRunner

        return OpenvinoRunner(path, options)
    from kinestream_workers.engines.sessions import SessionRunner

    return SessionRunner(path, options)
