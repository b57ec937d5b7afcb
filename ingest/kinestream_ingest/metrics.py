"""What the process of one or many cameras tells Prometheus.

Not for: counting it (see `feed.py`), nor serving it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kinestream.metrics.causes import INGEST_CAUSES
from kinestream.metrics.cumulative import Cumulative
from kinestream.metrics.families import seconds_family
from kinestream_ingest.feed import Feed
from kinestream_ingest.sources.readahead import hanging

_COUNTERS: dict[str, tuple[str, Callable[[Feed], float]]] = {
    "offered_frames": ("Frames that Redis has acknowledged.", lambda feed: feed.offered),
    "captured_frames": ("Frames of the source that were not skipped.", lambda feed: feed.taken),
    "source_frames": (
        "Frames that the source has given, skipped ones included.",
        lambda feed: feed.seen,
    ),
    "runs": ("Runs that this process has begun.", lambda feed: len(feed.runs)),
}
"""In this order: of two numbers the smaller one is read first, so that they fit."""

_GAUGES: dict[str, tuple[str, Callable[[Feed], float]]] = {
    "connected": ("1 while the source is open here, else 0.", lambda feed: feed.connected),
    "run_open": ("1 while a run is open.", lambda feed: feed.offering.open),
    "lag_seconds": (
        "From the capture of the last frame to its acknowledgement.",
        lambda feed: feed.offering.late_s,
    ),
}


class IngestMetrics:
    """Collects from feeds, in any thread; `feeds` gives those of this moment."""

    def __init__(self, feeds: Callable[[], Iterable[Feed]]) -> None:
        self._feeds = feeds

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment; the numbers of one camera fit each other."""
        given_up = CounterMetricFamily(
            "kinestream_ingest_given_up_frames",
            "Frames that this process gave up on before Redis had them, by cause.",
            labels=["camera", "cause"],
        )
        counters = {
            name: CounterMetricFamily(f"kinestream_ingest_{name}", text, labels=["camera"])
            for name, (text, _) in _COUNTERS.items()
        }
        gauges = {
            name: GaugeMetricFamily(f"kinestream_ingest_{name}", text, labels=["camera"])
            for name, (text, _) in _GAUGES.items()
        }
        took: dict[str, Cumulative] = {}
        for feed in self._feeds():
            with feed.changing:
                camera = feed.offering.camera
                took[camera] = feed.encoder.took
                for cause, count in (dict.fromkeys(INGEST_CAUSES, 0) | feed.given_up).items():
                    given_up.add_metric([camera, cause], count)
                for name, (_, read) in _COUNTERS.items():
                    counters[name].add_metric([camera], read(feed))
                for name, (_, read) in _GAUGES.items():
                    gauges[name].add_metric([camera], float(read(feed)))
        yield given_up
        yield from counters.values()
        yield from gauges.values()
        yield seconds_family(
            "kinestream_ingest_encode_seconds", "Time that the encoding of a picture took.", "camera", took
        )
        yield GaugeMetricFamily(
            "kinestream_ingest_hanging_threads",
            "Threads that hang in a driver or in libav, and that nobody waits for any more.",
            value=len(hanging()),
        )
