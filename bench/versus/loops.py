"""The contenders that are a loop in one process: the bare session, our parts one after the other, rtmlib's.

    python loops.py session|parts|rtmlib MODEL BATCH FOLDER

Not for: anything that has a queue.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial

from load import answer, flat_loop, paced_loop, read_jpegs
from oneimage import decode, one_by_one

from kinestream.messages import Frame
from kinestream_workers import decoding
from kinestream_workers.engines import EngineOptions, open_engine


def session(model: str, batch: int, jpegs: list[bytes]) -> Callable[[int], None]:
    """The session on ready tensors, called once for `batch` frames; the engine where it has no tensors."""
    engine = open_engine(model, EngineOptions())
    memory = engine.new_batch(batch)
    for slot in range(batch):
        engine.fill(memory, slot, decode(jpegs[slot % len(jpegs)]))
    if hasattr(memory, "tensor"):
        import onnxruntime

        bare = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        run = partial(bare.run, None, {"input": memory.tensor})
    else:
        run = partial(engine.infer, memory, range(batch))

    def infer(index: int) -> None:
        if index % batch == 0:
            run()

    return infer


def parts(model: str, batch: int, jpegs: list[bytes]) -> Callable[[int], None]:
    """Decode, letterbox, session, suppression: this package's, a frame at a time."""
    engine = open_engine(model, EngineOptions())
    memory = engine.new_batch(1)
    frames = [_frame(jpeg) for jpeg in jpegs]

    def infer(index: int) -> None:
        engine.fill(memory, 0, decoding.decode(frames[index % len(frames)]))
        engine.infer(memory, [0])

    return infer


def rtmlib(model: str, batch: int, jpegs: list[bytes]) -> Callable[[int], None]:
    """Decode, and rtmlib's class."""
    people = one_by_one(model)

    def infer(index: int) -> None:
        people(decode(jpegs[index % len(jpegs)]))

    return infer


def _frame(jpeg: bytes) -> Frame:
    from camera import frame

    return frame("parts", 1, 0, jpeg, "live")


def main() -> None:
    kind, model, batch, folder = sys.argv[1:]
    infer = {"session": session, "parts": parts, "rtmlib": rtmlib}[kind](
        model, int(batch), read_jpegs(folder)
    )
    infer(0)
    answer(partial(flat_loop, infer), partial(paced_loop, infer), loop=os.getpid())


if __name__ == "__main__":
    main()
