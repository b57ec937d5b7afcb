"""After the last fault: the pipeline must recover by itself, and then end, with nothing left.

Not for: faults, nor for the sums (see `verdict.py`).
"""

from __future__ import annotations

import asyncio
import signal
import time

from kinestream.chaos.actors import READY_S, until
from kinestream.chaos.evidence import Reading, all_ledgers, leftover_holds, long_gone_consumers
from kinestream.chaos.faults import drain
from kinestream.chaos.stage import LEASE_MS, Stage
from kinestream.errors import KinestreamError
from kinestream.keys import Keys
from kinestream.ledger import Ledger

_SETTLE_S = 60.0
"""For frames in flight to be done with, and for subscribers to be told: seconds, and a lease or two."""

_GONE_MS = 100 * LEASE_MS + 10_000
"""When sweeping workers have removed a consumer that holds nothing: 100 leases (sweep.lua), and a margin."""

_MORE = 5
"""Poses that show that a camera works again."""

_PAUSE_S = 0.1


async def settle(stage: Stage, commits: Reading, ordered: Reading) -> list[Ledger]:
    """Wait until all works again, end the cameras and then the workers; return the ledgers of all runs.

    What does not come to its end in time, or not as it should, becomes an incident of the stage.
    """
    try:
        await _works_again(stage, commits)
        client, keys = stage.poison.redis, Keys()
        stage.incidents += await long_gone_consumers(client, keys, [*stage.producers], _GONE_MS)
        await asyncio.gather(*(drain(stage, producer) for producer in stage.producers.values()))
        await _fenced_ended(stage)
        ledgers = await _nothing_in_flight(stage)
        await _all_told(stage, commits, ordered, ledgers)
        await _end_watcher(stage)
        await asyncio.gather(*(drain(stage, worker) for worker in stage.workers.values()))
        cameras = sorted({ledger.camera for ledger in ledgers})
        stage.incidents += await leftover_holds(client, keys, cameras)
        return ledgers
    except KinestreamError as error:  # the evidence so far says more than this alone
        stage.incidents.append(str(error))
        return await all_ledgers(stage.poison.redis, Keys())


async def _works_again(stage: Stage, commits: Reading) -> None:
    for actor in stage.actors:
        await actor.until_ready()
    before = dict(commits.ok)

    def more() -> bool:
        return all(commits.ok.get(name, 0) >= before.get(name, 0) + _MORE for name in stage.producers)

    await until(more, READY_S, f"{_MORE} more poses of every camera, after the last fault")


async def _fenced_ended(stage: Stage) -> None:
    for name, child in stage.fenced:
        what = f"the producer of {name} that was replaced, process {child.pid}, to end"
        await until(lambda child=child: child.exit_code is not None, _SETTLE_S, what)  # type: ignore[misc]
        if child.exit_code != 1:
            stage.incidents.append(f"a replaced producer of {name} ended with {child.exit_code}, not 1")


async def _nothing_in_flight(stage: Stage) -> list[Ledger]:
    """The ledgers once every run is over; the last ones if that takes too long, for the verdict to see."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        ledgers = await all_ledgers(stage.poison.redis, Keys())
        over = all(ledger.state == "ended" and not ledger.in_flight for ledger in ledgers)
        if over or time.monotonic() > deadline:
            return ledgers
        await asyncio.sleep(_PAUSE_S)


async def _all_told(stage: Stage, commits: Reading, ordered: Reading, ledgers: list[Ledger]) -> None:
    """Wait until all three subscribers were told the end of every run; the verdict says who was not."""
    wanted = {(ledger.camera, ledger.run) for ledger in ledgers}
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        if all(wanted <= ends for ends in (commits.ends, ordered.ends, stage.watch_logs.ends())):
            return
        await asyncio.sleep(_PAUSE_S)


async def _end_watcher(stage: Stage) -> None:
    stage.watcher.absent = True
    stage.watcher.send(signal.SIGTERM)
    await until(lambda: stage.watcher.child.exit_code is not None, _SETTLE_S, "the subscriber to end")
