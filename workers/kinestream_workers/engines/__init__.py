"""The engine: what turns a batch of letterboxed images into people. One protocol, one file an engine.

Not for: what an engine does inside (`rtmo.py`), nor for batching, leases or Redis: an engine knows none of
them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kinestream.messages import Person
from kinestream_workers.models import resolve_model
from kinestream_workers.preprocess import Letterbox

__all__ = ["Engine", "open_engine"]


class Engine(Protocol):
    """What a worker needs of an engine; its methods block: they belong on a thread, not on the event loop."""

    @property
    def name(self) -> str:
        """The model, as `PoseResult.model` names it."""

    @property
    def skeleton(self) -> str:
        """The skeleton of every person it finds, a key of `kinestream.skeletons.SKELETONS`."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) in pixels that images are letterboxed to."""

    @property
    def description(self) -> str:
        """One line for an operator: which model came up on what, with how many threads."""

    def new_batch(self, size: int) -> NDArray[np.float32]:
        """A tensor [size, 3, H, W] for `preprocess.fill_slot` to fill: allocated once, then reused."""

    def warm_up(self, max_batch: int) -> dict[int, float]:
        """Run batches of up to `max_batch`, so that no frame pays for it; milliseconds by batch size."""

    def infer(
        self, tensor: NDArray[np.float32], letterboxes: Sequence[Letterbox]
    ) -> list[tuple[Person, ...]]:
        """The people in each of the tensor's first `len(letterboxes)` images, in source pixels, best first.

        Blocks, without the GIL while the network runs. Raises `EngineError`; then nothing is known of any
        image.
        """


def open_engine(model: str | os.PathLike[str], *, device: str = "auto", threads: int | None = None) -> Engine:
    """Open the engine for a model (as `resolve_model` takes it) on `auto`, `cpu`, `cuda` or `cuda:N`.

    `threads` is how many threads one batch may use on a CPU; None means the cores that this process may use.
    Raises `ModelError` if the file is not there or breaks the contract, `EngineError` if the device does not
    come up.
    """
    from kinestream_workers.engines.rtmo import RtmoEngine

    return RtmoEngine(resolve_model(model), device=device, threads=threads)
