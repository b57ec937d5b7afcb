"""What a subscriber and a recorder tell Prometheus of themselves. Not for: being one, nor serving it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

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


class RecordMetrics:
    """Collects from a recorder, in any thread; `counts` gives its records, pictures and pictures left out."""

    def __init__(self, counts: Callable[[], tuple[int, int, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        texts = {
            "records": "Records written.",
            "pictures": "Pictures drawn into the video.",
            "pictures_left_out": "Pictures left out, since drawing is slower than the cameras.",
        }
        for (name, text), count in zip(texts.items(), self._counts(), strict=True):
            yield CounterMetricFamily(f"kinestream_record_{name}", text, value=count)
