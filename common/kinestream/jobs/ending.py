"""Ending the run of a job that will not be finished: with its cause, and with what is queued cleared.

Frames that workers hold just then are finished by them; every other one becomes a `dropped` record with the
same cause, committed as a worker would. Not for: a producer that lives; end it first.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from redis.asyncio import Redis

from kinestream.errors import DeliveryError
from kinestream.groupconsumer import GroupConsumer
from kinestream.held import Held, Outcome
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.redis import through_outages
from kinestream.run import Run, run_of_token

_AT_A_TIME = 32
"""Frames cleared in one step: a producer has no more than twice as many waiting."""


async def end_run(redis: Redis, camera: str, run_key: str, cause: str, *, keys: Keys) -> int:
    """End the run of `camera` that has this key, if it is open; return how many frames were cleared."""
    patiently = partial(through_outages, what=f"ending the run of {camera}")
    number, _ = await patiently(partial(run_of_token, redis, camera, run_key, keys=keys))
    if not number:
        return 0
    run = await patiently(partial(Run.resume, redis, camera, token=run_key, keys=keys))
    if run is not None:
        with suppress(DeliveryError):  # somebody else ended it meanwhile
            await patiently(partial(run.finish, cause=cause))
    # Also of a run that had been read to its end, or was ended by one who died before it came to this.
    consumer = GroupConsumer(redis, f"ending-{camera}", keys=keys)
    cleared = 0
    while held := await patiently(partial(consumer.take, [camera], _AT_A_TIME)):
        outcomes = [Outcome(frame, _dropped(frame, cause)) for frame in held]
        cleared += sum(await patiently(partial(consumer.commit, outcomes)))
    await patiently(partial(consumer.leave_groups, [camera]))
    return cleared


def _dropped(held: Held, cause: str) -> PoseResult:
    return PoseResult(camera=held.camera, run=held.run, seq=held.seq, status="dropped", cause=cause)
