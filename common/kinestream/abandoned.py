"""Runs whose producer is gone are ended, so that nobody waits for a camera that will not come back.

A producer that is killed cannot end its run. Its camera's state is not told any more (see `camerastate.py`),
and from that on whoever keeps house may end the run, with the cause `producer-gone`. A producer that was only
frozen is refused at its next offer, since its run is over, and begins a new one.

Runs of other makers' producers, which tell no state, are left alone: nothing says whether they are alive.

Not for: frames of dead workers; these are swept (see `groupconsumer.py`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from redis.asyncio import Redis

from kinestream.camerastate import camera_states
from kinestream.delivery import Limits, untyped
from kinestream.errors import DeliveryError
from kinestream.keys import Keys
from kinestream.logs import about
from kinestream.messages import LANES
from kinestream.run import Run

PRODUCER_GONE = "producer-gone"

GONE_S = 15.0
"""A camera of which nothing was told for so long is taken for abandoned; a busy machine stutters by less."""

CONFIRM_S = 3.0
"""Between a first look and a second one. After an outage of Redis nobody has been heard of for long, and all
producers need a moment to be heard again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Suspect:
    camera: str
    run: int
    token: str
    lane: str


async def end_abandoned_runs(
    redis: Redis, *, keys: Keys | None = None, limits: Limits | None = None, confirm_s: float = CONFIRM_S
) -> list[tuple[str, int]]:
    """End the open runs whose producers are gone, and return their (camera, run).

    May be called by several at once, and again: a run ends once. Takes `confirm_s` seconds if there is
    anything to end.
    """
    keys, limits = keys or Keys(), limits or Limits()
    suspects = await _suspects(redis, keys)
    if not suspects:
        return []
    await asyncio.sleep(confirm_s)
    ended = []
    for suspect in suspects & await _suspects(redis, keys):
        if await _end(redis, keys, limits, suspect):
            ended.append((suspect.camera, suspect.run))
            _log.warning(
                "%s: run %d is ended, its producer is gone",
                suspect.camera,
                suspect.run,
                extra=about(suspect.camera, suspect.run),
            )
    return sorted(ended)


async def _suspects(redis: Redis, keys: Keys) -> set[_Suspect]:
    """The open runs that somebody once told of, and of which nothing has been heard for long."""
    runs = {name.decode(): int(run) for name, run in (await untyped(redis).hgetall(keys.cameras)).items()}
    states = await camera_states(redis, [*runs], keys=keys)
    found = set()
    for camera, state in states.items():
        if state.told_ago_s < GONE_S or state.run != runs[camera]:
            continue
        facts = await untyped(redis).hmget(keys.ledger(camera, runs[camera]), "state", "token", "lane")
        is_open, token, lane = ((fact or b"").decode(errors="replace") for fact in facts)
        if is_open in ("open", "closing") and lane in LANES:
            found.add(_Suspect(camera, runs[camera], token, lane))
    return found


async def _end(redis: Redis, keys: Keys, limits: Limits, suspect: _Suspect) -> bool:
    lane = "live" if suspect.lane == "live" else "every-frame"
    run = Run(redis, keys, limits, suspect.camera, lane, suspect.run, suspect.token)  # type: ignore[arg-type]
    try:
        await run.finish(cause=PRODUCER_GONE)
    except DeliveryError:  # somebody was quicker, or Redis forgot the run
        return False
    # Its producer, if it comes back, shall be told that the run is over, not that it has ended it itself.
    await untyped(redis).hset(keys.ledger(suspect.camera, suspect.run), "ended_by", PRODUCER_GONE)
    return True
