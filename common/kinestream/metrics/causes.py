"""The causes that Kinestream itself gives for what is not `ok`, so that metrics begin with a 0 for each.

Prometheus sees growth between two values only: a counter that appears with its first failed frame would never
tell of it. Not for: what the causes mean (docs/metrics.md), nor for where they are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

INGEST_CAUSES = (
    "producer-behind",
    "redis-away",
    "redis-full",
    "undecodable",
    "unreadable",
    "too-large",
    "encoder-failed",
    "size-changed",
)
"""Why a camera's process gives up on a frame before Redis has it; such frames are `dropped`."""

CAUSES: Mapping[str, tuple[str, ...]] = {
    "ok": ("",),
    "dropped": ("no-room", "load", *INGEST_CAUSES),
    "stale": ("too-old",),
    "failed": ("undecodable", "engine-failed", "unprepared", "given-up"),
    "lost": ("redis",),
}
"""By status."""


def known_causes(*statuses: str) -> Iterator[tuple[str, str]]:
    """Yield status and cause, of these statuses or of all."""
    for status in statuses or CAUSES:
        for cause in CAUSES[status]:
            yield status, cause
