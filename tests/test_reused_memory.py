"""The memory that pictures are put into: as much as a worker begins with, and never another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frames import frame
from kinestream_workers.demand import MEMORIES
from kinestream_workers.engines import EngineOptions, Image
from kinestream_workers.engines.letterbox import Letterboxed
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.models import resolve_model
from working import begin_run, wait_for_records, working


class Watched(RtmoEngine):
    """The engine rtmo, and where the tensors lie that it is given."""

    def __init__(self) -> None:
        super().__init__(resolve_model("testcard"), EngineOptions(threads=1))
        self.made: list[int] = []
        self.filled: set[int] = set()
        self.inferred: set[int] = set()
        self.gate = self  # what `working` opens at the end

    def set(self) -> None:
        pass

    def new_batch(self, size: int) -> Letterboxed:
        batch = super().new_batch(size)
        self.made.append(batch.tensor.ctypes.data)
        return batch

    def fill(self, batch: Letterboxed, slot: int, image: Image) -> None:
        self.filled.add(batch.tensor.ctypes.data)
        super().fill(batch, slot, image)

    def infer(self, batch: Letterboxed, slots: Sequence[int]) -> Any:
        self.inferred.add(batch.tensor.ctypes.data)
        return super().infer(batch, slots)


async def test_the_tensors_of_the_first_batches_are_those_of_the_last(redis: Any, keys: Any) -> None:
    engine = Watched()
    run = await begin_run(redis, keys, "left")
    async with working(redis, keys, engine, max_batch=2):  # type: ignore[arg-type]
        made = [*engine.made]
        for seq in range(24):
            assert await run.offer(frame(run, seq)) == "ok"
        await wait_for_records(redis, keys, 24)
    assert engine.made == made, "no memory was made after the start"
    assert engine.inferred <= {*made}
    assert len(engine.inferred) == MEMORIES
