"""What a worker tells about itself every few seconds, for whoever looks: `kinestream status`, a dashboard.

Reports are hints: nothing in the delivery of frames depends on them, and when memory is full they are left
out.
Not for: what a worker measures (see `kinestream_workers.reporting`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from redis.asyncio import Redis

from kinestream.delivery import untyped
from kinestream.histogram import Histogram
from kinestream.keys import Keys

STAGES = ("encoded", "queued", "decoded", "waited", "inferred", "end to end")
"""Where a frame's milliseconds go, in order; the last one is their sum: from encoding to poses, but for the
way from the producer to Redis, for which there is no common clock.
"""

REPORT_S = 2.0
"""Between two reports: often enough for eyes, and nothing beside the frames."""

ALIVE_S = 15
"""A worker that has not reported for so long is gone, or cut off."""

_REMEMBERED_S = 3600
"""When names of workers that are gone are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """One worker at one moment.

    `committed` counts since its start; `rate` (frames a second), `batch` (frames inferred together, on
    average) and `stages` (milliseconds of frames that became `ok`) are of the last minute or two; `held`
    frames are in its hands now. `target_ms` is its latency target if it has one; just now its batches have up
    to `batch_limit` frames and wait `window_ms` to fill; `dropped_load` live frames were too late for the
    target since its start.
    """

    name: str
    model: str
    engine: str
    committed: int
    rate: float
    batch: float
    held: int
    stages: Mapping[str, Histogram] = field(default_factory=dict)
    target_ms: float | None = None
    batch_limit: int = 0
    window_ms: float = 0.0
    dropped_load: int = 0

    def pack(self) -> str:
        """The report as JSON."""
        facts = {name: getattr(self, name) for name in (*_FACTS, *_LATER_FACTS)}
        stages = {stage: dict(histogram.counts) for stage, histogram in self.stages.items()}
        return json.dumps(facts | {"stages": stages})

    @classmethod
    def unpack(cls, packed: bytes) -> Self | None:
        """Read what `pack` gave; None for what cannot be read, of another version perhaps."""
        try:
            facts: dict[str, Any] = json.loads(packed)
            stages = {
                stage: Histogram({int(bucket): int(count) for bucket, count in counts.items()})
                for stage, counts in facts["stages"].items()
            }
            later = {name: kind(facts[name]) for name, kind in _LATER_FACTS.items() if facts.get(name)}
            return cls(stages=stages, **{name: kind(facts[name]) for name, kind in _FACTS.items()}, **later)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return None


_FACTS = {
    "name": str,
    "model": str,
    "engine": str,
    "committed": int,
    "rate": float,
    "batch": float,
    "held": int,
}

_LATER_FACTS = {"target_ms": float, "batch_limit": int, "window_ms": float, "dropped_load": int}
"""What reports of older workers do not have, and those without a target leave empty."""


async def publish_report(redis: Redis, report: WorkerReport, *, keys: Keys | None = None) -> None:
    """Put a report where `read_reports` finds it, for some seconds."""
    keys = keys or Keys()
    now_ms = await _now_ms(redis)
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.set(keys.worker(report.name), report.pack(), ex=ALIVE_S)
        pipeline.zadd(keys.workers, {report.name: now_ms})
        pipeline.zremrangebyscore(keys.workers, "-inf", now_ms - 1000 * _REMEMBERED_S)
        await pipeline.execute()


async def withdraw_report(redis: Redis, name: str, *, keys: Keys | None = None) -> None:
    """Take a worker's report back, at its end."""
    keys = keys or Keys()
    await untyped(redis).delete(keys.worker(name))
    await untyped(redis).zrem(keys.workers, name)


async def read_reports(redis: Redis, *, keys: Keys | None = None) -> list[WorkerReport]:
    """The reports of all workers that are alive, by name."""
    keys = keys or Keys()
    since_ms = await _now_ms(redis) - 1000 * ALIVE_S
    names = await untyped(redis).zrangebyscore(keys.workers, since_ms, "+inf")
    if not names:
        return []
    # A name that is no UTF-8 is another maker's mistake: its report is not found.
    known = [keys.worker(name.decode(errors="replace")) for name in sorted(names)]
    packed = await untyped(redis).mget(known)
    reports = [WorkerReport.unpack(report) for report in packed if report is not None]
    return [report for report in reports if report is not None]


def merged_stages(reports: list[WorkerReport]) -> dict[str, Histogram]:
    """The stages of all workers together, in order; those that nobody has measured are left out."""
    merged = {}
    for stage in STAGES:
        histogram = Histogram()
        for report in reports:
            histogram = histogram.merged(report.stages.get(stage, Histogram()))
        if histogram.total:
            merged[stage] = histogram
    return merged


async def _now_ms(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
