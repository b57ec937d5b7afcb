"""Warm-up, and what a batch costs: measured for every engine in the same way, through its own methods.

Not for: choosing the size of a batch while it works (see `kinestream_workers.target`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from kinestream_workers.engines.engine import Engine, Image

QUICK_RUN_MS = 250.0
"""Runs shorter than this are repeated: the first one of a size pays for memory, which long ones hide."""

WORTH_IT = 0.95
"""What a frame may cost in a batch of twice the size, of what it cost before: less gain is not worth its
latency.
"""

_ROWS, _COLUMNS = 480, 640


def blank_image() -> Image:
    """A grey picture with nobody in it."""
    return np.full((_ROWS, _COLUMNS, 3), 114, np.uint8)


def warm_up(engine: Engine, max_batch: int) -> dict[int, float]:
    """Run 1, 2, 4, … and `max_batch` blank images, so that no frame pays for what only the first runs cost.

    Returns the milliseconds of each size's faster run. Of an engine whose work grows with the people that it
    finds, it is the least that a batch costs. Raises `EngineError`.
    """
    batch = engine.new_batch(max_batch)
    for slot in range(max_batch):
        engine.fill(batch, slot, blank_image())
    engine.infer(batch, [0])  # the very first run allocates and is never a measure of anything
    costs_ms = {}
    for size in sorted({max_batch, *(2**power for power in range(max_batch.bit_length()))}):
        costs_ms[size] = _timed_ms(engine, batch, range(size))
        if costs_ms[size] < QUICK_RUN_MS:
            costs_ms[size] = min(costs_ms[size], _timed_ms(engine, batch, range(size)))
    return costs_ms


def warm_up_within(engine: Engine, largest: int, most_ms: float) -> dict[int, float]:
    """Run 1, 2, 4, … up to `largest` blank images, as long as a batch takes no more than `most_ms` and is
    worth it.

    A batch is worth it if it saves a frame a twentieth of what half its size costs it: on a CPU none is.
    Returns the milliseconds of each size, all of them ones to use except where not even one image is quick
    enough. Raises `EngineError`.
    """
    costs_ms = warm_up(engine, 1)
    size = 2
    while size <= largest and costs_ms[size // 2] <= most_ms / 1.5:
        batch = engine.new_batch(size)
        for slot in range(size):
            engine.fill(batch, slot, blank_image())
        costs_ms[size] = min(_timed_ms(engine, batch, range(size)) for _ in range(2))
        if costs_ms[size] / size > WORTH_IT * costs_ms[size // 2] / (size // 2):
            del costs_ms[size]
            break
        size *= 2
    return costs_ms


def _timed_ms(engine: Engine, batch: Any, slots: Sequence[int]) -> float:
    started = time.perf_counter()
    engine.infer(batch, slots)
    return (time.perf_counter() - started) * 1000
