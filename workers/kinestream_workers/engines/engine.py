"""What an engine is: images in, people out. One small protocol, the same for ours and for anybody's.

docs/engines.md shows how to write and publish one. Not for: finding engines (`__init__.py`), nor for
batching, leases or Redis: an engine knows none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError, UsageError
from kinestream.messages import Person

Image = NDArray[np.uint8]
"""A picture [rows, columns, 3]: blue, green, red, 0–255."""


RUNTIMES = ("onnxruntime", "openvino")
"""What can run an ONNX file; docs/engines.md says which of them when."""

PRECISIONS = ("fp32", "bf16", "fp16")
"""What a network may be computed in. Its inputs and outputs, and what is made of them, stay fp32."""


MOST_THREADS = 1024
"""More than any machine has cores. A runtime makes as many as it is told, and cannot be stopped meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine shall run; what does not apply to it, it leaves alone. Raises `UsageError`."""

    device: str = "auto"
    """`auto`, or a device by its name: docs/engines.md lists those that the engine rtmo knows."""
    require_device: bool = False
    """Raise `EngineError` when `device` does not come up, instead of a warning and the CPU."""
    threads: int | None = None
    """Threads that one batch may use on a CPU; None leaves it to the engine."""
    runtime: str = "onnxruntime"
    """What runs an ONNX file: one of `RUNTIMES`."""
    precision: str = "fp32"
    """What it computes in: one of `PRECISIONS`. One that a CPU has not is a warning and fp32, or, with
    `require_device`, an `EngineError`.
    """

    def __post_init__(self) -> None:
        for option, given, known in (
            ("runtime", self.runtime, RUNTIMES),
            ("precision", self.precision, PRECISIONS),
        ):
            if given not in known:
                raise UsageError(f"{option} must be one of {', '.join(known)}, got {given!r}")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"threads must be 1 to {MOST_THREADS}, got {self.threads}")
        if self.runtime == "openvino" and self.device not in ("auto", "cpu"):
            raise UsageError(
                f"the runtime openvino is for the CPU: device must be auto or cpu, got {self.device!r}"
            )
        # onnxruntime runs a file as it is: one whose inside was converted to fp16 is run so, on CUDA too.
        if self.precision != "fp32" and self.runtime == "onnxruntime" and "tensorrt" not in self.device:
            raise UsageError(f"precision {self.precision} needs --runtime openvino or --device tensorrt")
        if self.require_device and self.device == "auto" and self.precision == "fp32":
            raise UsageError("require-device needs the device's name, and auto is none")


class EngineHangs(EngineError):
    """The engine is at one batch for longer than any can take; its thread is lost."""


class Engine(Protocol):
    """A model that is loaded and can infer; the methods block, and are called on threads.

    `fill` is called from several threads at once, each with a slot of its own; `infer` from one thread at a
    time, while `fill` may be at work on another batch.
    """

    suffixes: ClassVar[tuple[str, ...]]
    """Endings of the files that it takes, such as `.onnx`: a model's ending chooses its engine."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Load a file.

        Raises `ModelError` if it is no such model, `EngineError` if the engine does not come up.
        """

    @property
    def name(self) -> str:
        """The model, as `PoseResult.model` names it."""

    @property
    def skeleton(self) -> str:
        """The skeleton of every person it finds, as a rule a key of `kinestream.skeletons.SKELETONS`."""

    @property
    def description(self) -> str:
        """One line for an operator: which model came up on what."""

    def new_batch(self, size: int) -> Any:
        """Memory for up to `size` images, to be used again and again; only the engine looks inside."""

    def fill(self, batch: Any, slot: int, image: Image) -> None:
        """Put an image of any size into a slot, from 0 on: the place for what can be done beforehand.

        The engine may keep the image itself: nobody changes it until the slot is filled again.
        """

    def infer(self, batch: Any, slots: Sequence[int]) -> list[tuple[Person, ...]]:
        """The people in the image of each slot, best first, in pixels of that image as it was given to
        `fill`.

        (0, 0) is the corner of the first pixel. Nobody there is an empty tuple. Without the GIL, if it can,
        while the network runs. Raises `EngineError`; then nothing is known of any image.
        """

    def close(self) -> None:
        """Give back what it holds; nothing is called after it, nor under way."""
