"""Histograms of milliseconds as Prometheus wants them: cumulative since the start, in seconds.

Not for: histograms of the last minute (`kinestream.histogram.RecentHistogram`).
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import HistogramMetricFamily

from kinestream.histogram import BOUNDS_MS
from kinestream.metrics.cumulative import Cumulative

_EVERY = 3
"""Of the bounds every third is told, each 1.7 times the one before: 27 buckets for a worker's every stage."""

_TOLD = range(0, len(BOUNDS_MS), _EVERY)


def seconds_family(
    name: str, text: str, label: str, values: Mapping[str, Cumulative]
) -> HistogramMetricFamily:
    """A histogram with one label, from what was counted under each of the label's values."""
    family = HistogramMetricFamily(name, text, labels=[label])
    for value, counted in values.items():
        counts, sum_ms = counted.read()
        family.add_metric([value], _buckets(counts), sum_ms / 1000)
    return family


def _buckets(counts: Mapping[int, int]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    below = upto = 0
    for told in _TOLD:
        while upto <= told:
            below += counts.get(upto, 0)
            upto += 1
        buckets.append((f"{BOUNDS_MS[told] / 1000:.4g}", below))
    return [*buckets, ("+Inf", sum(counts.values()))]
