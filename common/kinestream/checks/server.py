"""Checks of the Redis server: may Kinestream use it, what does it keep, how full is it, what time does it
have.

Not for: what Kinestream has stored in it (see `streams.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import redis

from kinestream.doctor import Asked, Finding
from kinestream.embedded import find_redis_url
from kinestream.errors import KinestreamError
from kinestream.redisurl import safe_url

PATIENCE_S = 5.0
"""For every command: a server that needs longer is no server for live cameras."""

_FULL = 0.8
"""Part of the memory from which on it is time to act: frames come in bursts."""

_SKEW_MS = 20.0
"""Clocks that differ by more put frames of two hosts' cameras together wrongly (at 30 fps half of an interval
is 17 ms), and make latencies from capture on look wrong by a frame. NTP keeps hosts of one network well below
it.
"""

_SLOW_MS = 5.0
"""A round trip that takes longer shows in live feedback: a frame's way has three to five of them."""

_PINGS = 5


def open_client(asked: Asked) -> redis.Redis:
    """A client of the Redis asked for, with text as replies; raises `KinestreamError` if there is none."""
    return redis.Redis.from_url(
        find_redis_url(asked.redis_url),
        protocol=2,
        socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S,
        decode_responses=True,
    )


def check_server(asked: Asked) -> Iterator[Finding]:
    """Find out about version, eviction, persistence, memory, round trip and clock."""
    try:
        url = safe_url(find_redis_url(asked.redis_url))
        client = open_client(asked)
    except KinestreamError as error:
        yield Finding("error", "redis", str(error))
        return
    with client:
        facts: dict[str, Any] = client.info()  # type: ignore[assignment]  # the sync client answers at once
        server = "Valkey" if facts.get("server_name") == "valkey" else "Redis"
        version = facts.get("valkey_version") or facts.get("redis_version", "of unknown version")
        yield Finding("ok", "redis", f"{server} {version} at {url}")
        yield _eviction(facts)
        yield _persistence(facts)
        yield _memory(facts)
        yield from _clock(client)


def _eviction(facts: dict[str, Any]) -> Finding:
    policy = facts.get("maxmemory_policy", "unknown")
    if policy in ("noeviction", "unknown") or not facts.get("maxmemory"):
        return Finding("ok", "eviction", f"never: {policy}, or no memory limit")
    return Finding(
        "error",
        "eviction",
        f"{policy}: frames may vanish without a trace",
        "set maxmemory-policy to noeviction",
    )


def _persistence(facts: dict[str, Any]) -> Finding:
    if facts.get("aof_enabled"):
        written = facts.get("aof_last_write_status", "ok")
        if written != "ok":
            return Finding(
                "error", "persistence", f"the AOF cannot be written: {written}", "look at the server's disk"
            )
        return Finding(
            "ok", "persistence", "append-only file; with everysec, a crash may lose the last second"
        )
    if facts.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding(
            "error",
            "persistence",
            "the last snapshot failed: Redis may refuse writes",
            "look at the server's disk",
        )
    return Finding(
        "warning",
        "persistence",
        "no append-only file: what waits is lost when the server ends, and reported as lost",
        "fine for live cameras; for uploads: appendonly yes, or kinestream redis --data DIR",
    )


def _memory(facts: dict[str, Any]) -> Finding:
    used, limit = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
    whole = limit or int(facts.get("total_system_memory", 0))
    of = "its limit" if limit else "the host's memory (there is no limit)"
    says = f"{used / 2**20:.0f} MiB used"
    if not whole:
        return Finding("ok", "memory", says)
    says += f", {100 * used / whole:.0f} % of {whole / 2**20:.0f} MiB, {of}"
    if used > _FULL * whole:
        return Finding(
            "warning", "memory", says, "add workers, lower --max-side or --max-fps, or raise maxmemory"
        )
    if not limit:
        return Finding(
            "warning", "memory", says, "set maxmemory, so that Redis refuses before the host fails"
        )
    return Finding("ok", "memory", says)


def _clock(client: redis.Redis) -> Iterator[Finding]:
    """Compare clocks: the reply was made somewhere in the round trip, so half of it is the error."""
    trips = []
    for _ in range(_PINGS):
        sent_s, begun_s = time.time(), time.monotonic()
        seconds, microseconds = client.time()  # type: ignore[misc]  # the sync client answers at once
        trip_s = time.monotonic() - begun_s
        trips.append((trip_s, seconds + microseconds / 1e6 - (sent_s + trip_s / 2)))
    trip_s, ahead_s = min(trips)
    trip_ms, ahead_ms = 1000 * trip_s, 1000 * ahead_s
    slow = trip_ms > _SLOW_MS
    yield Finding(
        "warning" if slow else "ok",
        "round trip",
        f"{trip_ms:.2f} ms, the fastest of {_PINGS}",
        "move live producers and workers nearer to Redis" if slow else "",
    )
    skewed = abs(ahead_ms) > _SKEW_MS + trip_ms / 2
    yield Finding(
        "warning" if skewed else "ok",
        "clock",
        f"Redis's is {ahead_ms:+.1f} ms from this host's, ± {trip_ms / 2:.1f}",
        "run NTP or chrony on both: bundles and latencies from capture on compare these clocks"
        if skewed
        else "",
    )
