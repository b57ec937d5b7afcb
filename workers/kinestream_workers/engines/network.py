"""A network of which we know what goes in and comes out: images to arrays, whatever its batch axis.

A file is held against its contract when it is loaded, so that the wrong one is refused in a line, and not in
the middle of a film. Not for: which runtime runs it (`runtime.py`), nor what its numbers mean (`rtmo.py`,
`yolox.py`, `rtmpose.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import EngineError, ModelError
from kinestream_workers.engines.engine import EngineOptions
from kinestream_workers.engines.runtime import Declared, open_runner
from kinestream_workers.engines.sessions import first_line


class Network:
    """One file whose only input is `input`, float [B, 3, H, W], in the runtime that was asked for.

    `kind` is what the file ought to be, for messages. `fixed_batch` is the file's batch axis, None where it
    is dynamic; `input_size` is (width, height) in pixels. Raises `ModelError` if the file is none such, and
    what `open_runner` raises.
    """

    def __init__(self, path: Path, options: EngineOptions, kind: str) -> None:
        self._path, self._kind = path, kind
        self._runner = open_runner(path, options)
        self.name = path.stem
        inputs = self._runner.inputs
        if len(inputs) != 1 or not _fits(inputs[0], "input", (None, 3, None, None)):
            raise ModelError(
                f"{path} is no {kind}: wanted input float [B, 3, H, W], "
                f"got {', '.join(map(str, inputs)) or 'no input'}"
            )
        batch, _, height, width = inputs[0].shape or (None,) * 4
        if not isinstance(height, int) or not isinstance(width, int):
            raise ModelError(
                f"{path} has no fixed input size, got {inputs[0]}: export it with fixed height and width"
            )
        self.fixed_batch = batch if isinstance(batch, int) else None
        self.input_size = width, height

    @property
    def where(self) -> str:
        """On what it came up, and with which input: `CPUExecutionProvider, 2 threads, batch 1, 640x640`."""
        width, height = self.input_size
        return f"{self._runner.where}, batch {self.fixed_batch or 'dynamic'}, {width}x{height}"

    def declared(self, output: str, wanted: tuple[int | str, ...]) -> tuple[int | str | None, ...] | None:
        """The declared shape of an output, None where the file does not tell; words in `wanted` are lengths
        that may be any.

        Raises `ModelError` if there is no such output, or it can never have the shape that is wanted.
        """
        found = {value.name: value for value in self._runner.outputs}
        lengths = tuple(length if isinstance(length, int) else None for length in wanted)
        if output not in found or not _fits(found[output], output, lengths):
            got = ", ".join(map(str, found.values()))
            raise ModelError(
                f"{self._path} is no {self._kind}: wanted output {output} "
                f"float [{', '.join(map(str, wanted))}], got {got}"
            )
        return found[output].shape

    def new_tensor(self, size: int, value: float) -> NDArray[np.float32]:
        """Memory for `size` images, all of that value."""
        width, height = self.input_size
        return np.full((size, 3, height, width), value, np.float32)

    def chunks(self, count: int, at_most: int | None = None) -> list[slice]:
        """`count` images in runs of what the batch axis takes: all at once if it is dynamic, or `at_most`."""
        step = self.fixed_batch or min(at_most or count, count) or 1
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def run(self, outputs: Sequence[str], images: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Outputs for no more images than the batch axis takes; if it is fixed, they may be fewer.

        Then the first one is run again in the rest, whose rows come last. Raises `EngineError`.
        """
        if self.fixed_batch and len(images) < self.fixed_batch:
            images = np.concatenate([images, *[images[:1]] * (self.fixed_batch - len(images))])
        try:
            return self._runner.run(outputs, images)
        except Exception as error:  # neither runtime's errors have a base of their own
            raise EngineError(
                f"{self.name} failed on a batch of {len(images)}: {first_line(error)}"
            ) from error


def rows_of(tensor: NDArray[np.float32], slots: Sequence[int]) -> NDArray[np.float32]:
    """The images of these slots: a view where they lie side by side, as nearly always, else a copy."""
    first, count = slots[0], len(slots)
    if list(slots) == list(range(first, first + count)):
        return tensor[first : first + count]
    return tensor[list(slots)]


def check_finite(*numbers: NDArray[np.floating[Any]]) -> None:
    """Raise `EngineError` for boxes, scores or keypoints that a record cannot hold."""
    if not all(np.isfinite(each).all() for each in numbers):
        raise EngineError("the network gave a box, score or keypoint that is not a finite number")


def _fits(value: Declared, name: str, wanted: tuple[int | None, ...]) -> bool:
    """Whether a declared input or output can be `wanted`; a length that is open on either side fits anything.

    A file that declares no rank is judged by what its first run gives.
    """
    if value.name != name or value.kind != "float":
        return False
    if value.shape is None:
        return True
    return len(value.shape) == len(wanted) and all(
        a == b or b is None or not isinstance(a, int) for a, b in zip(value.shape, wanted, strict=True)
    )
