"""What a subscriber tells Prometheus of itself. Not for: subscribing, nor serving it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator

from prometheus_client.core import CounterMetricFamily, Metric

from kinestream.messages import STATUSES, PoseResult


class WatchMetrics:
    """Counts the records that pass through `counted`, and collects from any thread."""

    def __init__(self) -> None:
        self._records: Counter[str] = Counter(dict.fromkeys(STATUSES, 0))

    async def counted(self, results: AsyncIterator[PoseResult]) -> AsyncIterator[PoseResult]:
        """The same records."""
        async for result in results:
            self._records[result.status] += 1
            yield result

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        family = CounterMetricFamily(
            "kinestream_watch_records", "Records that this subscriber has received.", labels=["status"]
        )
        for status, count in dict(self._records).items():
            family.add_metric([status], count)
        yield family
