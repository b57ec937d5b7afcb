"""Which producer process serves which wanted camera: a claim with a lease, so that a dead one is replaced.

A claim keeps two producers from opening one camera; that no frame is published twice does not depend on it
(see `delivery.py`: whoever begins a run fences the producer before). Not for: what is wanted (`wanted.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from redis.asyncio import Redis

from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import redis_now_ms
from kinestream.delivery import untyped
from kinestream.keys import Keys

LEASE_MS = 6000
"""How long a dead producer's cameras wait for another one. It is renewed many times within it, so that a
machine which stutters loses nothing."""

_REMEMBERED_S = 3600
"""When names of producers that are gone are forgotten."""

_CLAIM = """
local claimed = {}
for i, key in ipairs(KEYS) do
  local owner = redis.call('GET', key)
  if not owner or owner == ARGV[1] then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    claimed[i] = 1
  else
    claimed[i] = 0
  end
end
return claimed
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


async def claim(
    redis: Redis, owner: str, cameras: Sequence[str], *, keys: Keys | None = None, lease_ms: int = LEASE_MS
) -> set[str]:
    """Claim these cameras, or renew the claims; returns those that are `owner`'s now."""
    keys = keys or Keys()
    if not cameras:
        return set()
    script = redis.register_script(_CLAIM)
    claimed = await script(keys=[keys.claim(camera) for camera in cameras], args=[owner, lease_ms])
    return {camera for camera, is_ours in zip(cameras, claimed, strict=True) if is_ours}


async def release(redis: Redis, owner: str, camera: str, *, keys: Keys | None = None) -> None:
    """Give a camera back, if it is `owner`'s: another producer may take it at once."""
    keys = keys or Keys()
    await redis.register_script(_RELEASE)(keys=[keys.claim(camera)], args=[owner])


async def owners(redis: Redis, cameras: Sequence[str], *, keys: Keys | None = None) -> dict[str, str]:
    """Who serves each of these cameras; those that nobody serves are left out."""
    keys = keys or Keys()
    if not cameras:
        return {}
    found = await untyped(redis).mget([keys.claim(camera) for camera in cameras])
    pairs = zip(cameras, found, strict=True)
    return {camera: owner.decode(errors="replace") for camera, owner in pairs if owner is not None}


async def announce(redis: Redis, owner: str, *, keys: Keys | None = None) -> int:
    """Tell that this producer is alive; returns how many are."""
    keys = keys or Keys()
    now_ms = await redis_now_ms(redis)
    async with untyped(redis).pipeline(transaction=False) as pipeline:
        pipeline.zadd(keys.producers, {owner: now_ms})
        pipeline.zremrangebyscore(keys.producers, "-inf", now_ms - 1000 * _REMEMBERED_S)
        pipeline.zcount(keys.producers, now_ms - LEASE_MS, "+inf")
        *_, alive = await pipeline.execute()
    return int(alive)


async def withdraw(redis: Redis, owner: str, *, keys: Keys | None = None) -> None:
    """Tell that this producer ends."""
    await untyped(redis).zrem((keys or Keys()).producers, owner)


async def producers(redis: Redis, *, keys: Keys | None = None) -> list[str]:
    """The producers that are alive."""
    since_ms = await redis_now_ms(redis) - LEASE_MS
    found = await untyped(redis).zrangebyscore((keys or Keys()).producers, since_ms, "+inf")
    return sorted(owner.decode(errors="replace") for owner in found)


def chosen(
    wanted: Iterable[CameraSpec],
    *,
    name: str,
    serving: Iterable[str],
    owners: Mapping[str, str],
    alive: int,
    max_cameras: int | None,
    patient: bool,
) -> list[str]:
    """Which cameras a producer called `name` shall try to claim beside those that it is serving.

    `wanted` are those to be served now. With `patient` it stays within its fair share of those that are bound
    to nobody, so that producers which start together divide them; without, nothing is left unserved.
    """
    serving = {*serving}
    free = [spec for spec in wanted if spec.name not in serving and spec.name not in owners]
    room = math.inf if max_cameras is None else max_cameras - len(serving)
    bound = [spec.name for spec in free if spec.producer == name]
    others = [spec.name for spec in free if spec.producer is None]
    if patient:
        shared = sum(spec.producer is None for spec in wanted)
        ours = sum(spec.producer is None and spec.name in serving for spec in wanted)
        others = others[: max(0, math.ceil(shared / max(1, alive)) - ours)]
    found = bound + others
    return found if room == math.inf else found[: max(0, int(room))]
