"""What `kinestream metrics` tells: names, texts and labels, made from what it has read.

Pure. Not for: reading it (see `exporter.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from kinestream.camerastate import STATES, CameraState
from kinestream.jobs.store import State
from kinestream.metrics.cameracounts import PRODUCED, CameraCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one reading found, beside what is counted by camera."""

    workers: int
    jobs: Mapping[State, int]
    dead: int
    results: int
    results_bytes: int
    memory_bytes: int
    limit_bytes: int


def of_cameras(cameras: Mapping[str, CameraCounts], ages_s: Mapping[str, float]) -> Iterator[Metric]:
    """Yield what is told by camera; `ages_s` are those of the oldest waiting frames."""
    yield from _counters(cameras)
    yield _gauge(
        "run_open",
        "1 while the newest run of a camera is open, 0 once it has ended.",
        {
            (name, counts.ledgers[-1].lane): counts.ledgers[-1].state == "open"
            for name, counts in cameras.items()
        },
        labels=["camera", "lane"],
    )
    for name, text, of in (
        ("in_flight_frames", "Frames in the camera's stream: waiting or held.", "in_flight"),
        ("held_frames", "Frames that workers hold.", "held"),
        ("waiting_frames", "Frames that no worker holds.", "waiting"),
    ):
        yield _gauge(
            name,
            text,
            {
                (camera,): sum(getattr(ledger, of) for ledger in counts.ledgers)
                for camera, counts in cameras.items()
            },
        )
    yield _gauge(
        "oldest_waiting_seconds",
        "For how long the oldest frame that no worker holds has waited; 0 if none does.",
        {(camera,): age_s for camera, age_s in ages_s.items()},
    )
    yield _gauge(
        "unaccounted_frames",
        "Produced, less all that is known of; anything but 0 is a bug.",
        {
            (camera,): sum(ledger.produced - ledger.accounted for ledger in counts.ledgers)
            for camera, counts in cameras.items()
        },
    )


def _counters(cameras: Mapping[str, CameraCounts]) -> Iterator[Metric]:
    produced = CounterMetricFamily(
        "kinestream_camera_produced_frames",
        "Frames with a number that a camera has produced.",
        labels=["camera"],
    )
    ended = CounterMetricFamily(
        "kinestream_camera_frames",
        "Frames of a camera whose outcome is known, by status and cause.",
        labels=["camera", "status", "cause"],
    )
    for camera, counts in cameras.items():
        for (status, cause), frames in counts.totals.items():
            if (status, cause) == PRODUCED:
                produced.add_metric([camera], frames)
            else:
                ended.add_metric([camera, status, cause], frames)
    yield produced
    yield ended


def of_states(states: Iterable[CameraState]) -> Iterator[Metric]:
    """Yield how cameras are, as their producers tell."""
    known = [*states]
    yield _gauge(
        "state",
        "1 for the state that a camera is in, 0 for every other one.",
        {(one.camera, state): one.state == state for one in known for state in STATES},
        labels=["camera", "state"],
    )
    figures: dict[str, tuple[str, Callable[[CameraState], float | None]]] = {
        "fps": ("Pictures a second that come from a camera, measured.", lambda one: one.fps),
        "jitter_seconds": (
            "Mean distance of an interval between two pictures from the mean interval.",
            lambda one: None if one.jitter_ms is None else one.jitter_ms / 1000,
        ),
        "last_frame_seconds": ("Time since a camera's last picture came.", lambda one: one.frame_ago_s),
    }
    for name, (text, read) in figures.items():
        values = {(one.camera,): read(one) for one in known}
        yield _gauge(name, text, {labels: value for labels, value in values.items() if value is not None})


def of_the_rest(facts: Facts) -> Iterator[Metric]:
    """Yield what is told of everything else."""
    yield GaugeMetricFamily("kinestream_workers", "Workers that have reported lately.", value=facts.workers)
    jobs = GaugeMetricFamily("kinestream_jobs", "Jobs that are kept, by state.", labels=["state"])
    for state, count in facts.jobs.items():
        jobs.add_metric([state], count)
    yield jobs
    yield GaugeMetricFamily("kinestream_dead_letters", "Frames in the dead letters.", value=facts.dead)
    yield GaugeMetricFamily("kinestream_results_records", "Records in the results.", value=facts.results)
    yield GaugeMetricFamily(
        "kinestream_results_bytes",
        "Redis's memory for the results, estimated.",
        value=facts.results_bytes,
    )
    yield GaugeMetricFamily(
        "kinestream_redis_memory_bytes", "Memory that Redis uses.", value=facts.memory_bytes
    )
    yield GaugeMetricFamily(
        "kinestream_redis_memory_limit_bytes",
        "Memory that Redis may use; 0 if there is no limit.",
        value=facts.limit_bytes,
    )


def _gauge(
    name: str, text: str, values: dict[tuple[str, ...], float], labels: list[str] | None = None
) -> Metric:
    gauge = GaugeMetricFamily(f"kinestream_camera_{name}", text, labels=labels or ["camera"])
    for label_values, value in values.items():
        gauge.add_metric(list(label_values), float(value))
    return gauge
