"""What a worker tells Prometheus of itself. Not for: counting it (see `totals.py`), nor serving it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from kinestream.metrics.causes import known_causes
from kinestream.metrics.families import seconds_family
from kinestream_workers.engines import Engine
from kinestream_workers.outcomes import LOAD
from kinestream_workers.worker import Worker

_STATUSES = ("ok", "stale", "failed")
"""What a worker's frames become; another one that it once may have is told when it comes."""

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Of batches, up to the largest that `--max-batch` allows."""


class WorkerMetrics:
    """Collects from a worker, in any thread; `name` and `engine` are those of the worker."""

    def __init__(self, worker: Worker, engine: Engine, name: str) -> None:
        self._worker = worker
        self._labels = {"worker": name, "model": engine.name, "engine": engine.description}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        totals = self._worker.totals
        info = GaugeMetricFamily(
            "kinestream_worker_info",
            "Always 1; the labels are the worker's name, model and engine.",
            labels=[*self._labels],
        )
        info.add_metric([*self._labels.values()], 1)
        yield info
        frames = CounterMetricFamily(
            "kinestream_worker_frames",
            "Frames that this worker committed, by status and cause.",
            labels=["status", "cause"],
        )
        known = [*known_causes(*_STATUSES), ("dropped", LOAD)]
        counted = dict.fromkeys(known, 0) | dict(totals.frames)
        for labels, count in counted.items():
            frames.add_metric([*labels], count)
        yield frames
        yield seconds_family(
            "kinestream_worker_stage_seconds",
            "Time that frames which became ok spent in each stage.",
            "stage",
            {stage.replace(" ", "-"): counted for stage, counted in totals.stages.items()},
        )
        yield _batches(dict(totals.inferred))
        yield GaugeMetricFamily(
            "kinestream_worker_held_frames",
            "Frames that this worker holds.",
            value=self._worker.held,
        )
        yield from self._steered()

    def _steered(self) -> Iterator[Metric]:
        demand = self._worker.demand
        yield GaugeMetricFamily(
            "kinestream_worker_batch_limit_frames",
            "Frames that a batch may have just now.",
            value=demand.decision.batch,
        )
        yield GaugeMetricFamily(
            "kinestream_worker_window_seconds",
            "How long an idle engine waits for more frames to share a batch, just now.",
            value=demand.decision.window_ms / 1000,
        )
        yield GaugeMetricFamily(
            "kinestream_worker_target_seconds",
            "The latency, offer to commit, within which 95 % of live frames shall stay; 0 is no target.",
            value=demand.target.target_ms / 1000 if demand.target else 0,
        )


def _batches(inferred: Mapping[int, int]) -> HistogramMetricFamily:
    """Batches by size; a batch of n has left n frames, or fewer if others committed some of them."""
    batches = {size: frames // max(1, size) for size, frames in inferred.items()}
    upto = [sum(count for size, count in batches.items() if size <= bound) for bound in _SIZES]
    family = HistogramMetricFamily(
        "kinestream_worker_batch_frames", "Batches that were inferred, by their number of frames."
    )
    buckets = [*zip((f"{size:.1f}" for size in _SIZES), upto, strict=True), ("+Inf", sum(batches.values()))]
    family.add_metric([], buckets, sum(size * count for size, count in batches.items()))
    return family
