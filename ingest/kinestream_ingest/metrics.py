"""What the process of one camera tells Prometheus. Not for: counting it (see `feed.py`), nor serving it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kinestream.metrics.causes import INGEST_CAUSES
from kinestream.metrics.families import seconds_family
from kinestream_ingest.feed import Feed


class IngestMetrics:
    """Collects from a feed, in any thread."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def collect(self) -> list[Metric]:
        """The metrics of this moment; of two numbers the smaller one is read first, so that they fit."""
        with self._feed.changing:
            return [*self._read()]

    def _read(self) -> Iterator[Metric]:
        feed = self._feed
        camera = feed.offering.camera
        given_up = CounterMetricFamily(
            "kinestream_ingest_given_up_frames",
            "Frames that this process gave up on before Redis had them, by cause.",
            labels=["camera", "cause"],
        )
        for cause, count in (dict.fromkeys(INGEST_CAUSES, 0) | feed.given_up).items():
            given_up.add_metric([camera, cause], count)
        yield given_up
        for name, text, count in (
            ("offered_frames", "Frames that Redis has acknowledged.", feed.offered),
            ("captured_frames", "Frames of the source that were not skipped.", feed.taken),
            ("source_frames", "Frames that the source has given, skipped ones included.", feed.seen),
            ("runs", "Runs that this process has begun.", len(feed.runs)),
        ):
            counter = CounterMetricFamily(f"kinestream_ingest_{name}", text, labels=["camera"])
            counter.add_metric([camera], count)
            yield counter
        for name, text, value in (
            ("connected", "1 while the source is there, 0 while it is away.", not feed.away_s),
            ("run_open", "1 while a run is open.", feed.offering.open),
            (
                "lag_seconds",
                "From the capture of the last frame to its acknowledgement.",
                feed.offering.late_s,
            ),
        ):
            gauge = GaugeMetricFamily(f"kinestream_ingest_{name}", text, labels=["camera"])
            gauge.add_metric([camera], float(value))
            yield gauge
        yield seconds_family(
            "kinestream_ingest_encode_seconds",
            "Time that the encoding of a picture took.",
            "camera",
            {camera: feed.encoder.took},
        )
