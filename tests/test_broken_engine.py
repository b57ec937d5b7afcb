"""Whose fault is a failure: a frame that breaks alone becomes a dead letter, an engine that is broken never
makes one.

Not for: engines that hang (see `test_worker_trouble.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from redis.asyncio import Redis

from engines import ScriptedEngine
from frames import frame, offer
from kinestream.deadletters import read_dead_letters
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.redis import connect
from kinestream.run import Run
from servers import Server
from working import begin_run, run_program, wait_for_records, working


async def test_a_dead_letter_tells_all_that_is_known(redis: Redis, keys: Keys) -> None:
    run, engine = await begin_run(redis, keys, "left"), ScriptedEngine()
    engine.poison = {200}
    poison = frame(run, 1, grey=200)
    await run.offer(frame(run, 0))
    await run.offer(poison)
    async with working(redis, keys, engine, name="w1", max_attempts=2):
        await wait_for_records(redis, keys, 2)
    [letter] = [letter async for letter in read_dead_letters(redis, keys=keys)]
    assert (letter.camera, letter.name, letter.cause) == ("left", f"{run.number}-1", "engine-failed")
    assert letter.packed == poison.pack() and letter.frame() == poison
    assert (letter.worker, letter.model, letter.deliveries) == ("w1", "scripted", 2)
    assert letter.error == "EngineError: the test said so"
    assert letter.traceback.startswith("Traceback ") and "in infer" in letter.traceback


_BREAKS = """
import sys
from kinestream import cli
from kinestream_workers import engines
from engines import ScriptedEngine

class LosesItsDevice(ScriptedEngine):
    def infer(self, batch, slots):
        if self.arrived == 2:  # two batches go well, and from then on none
            self.broken = True
        return super().infer(batch, slots)

engines.engine_class = lambda path, engine: LosesItsDevice
engines.warm_up = lambda *given: {}
cli.main(["worker", "--redis", sys.argv[1], "--max-batch", "2", "--lease-ms", "60000"])
"""


async def test_a_worker_whose_engine_breaks_for_good_ends_for_its_supervisor(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    async with connect(server.url) as redis:
        run = await Run.begin(redis, "left", lane="every-frame")
        await offer(run, 20)
        code, said = await run_program(_BREAKS, server.url)
        assert code == 1
        complaint = "kinestream worker: the engine fails on every picture, a blank one too: the test said so"
        assert said.splitlines()[-1] == complaint
        ledger = await read_ledger(redis, "left", run.number)
        assert ledger is not None and ledger.ok > 0
        assert (ledger.held, ledger.failed, ledger.in_flight) == (0, 0, 20 - ledger.ok)
        assert await redis.xlen(Keys().dead) == 0
        rest = await GroupConsumer(redis, "next").take(["left"], 20)
        assert len(rest) == 20 - ledger.ok, "handed back, not left to a lease"
        assert {held.deliveries for held in rest} == {1}
