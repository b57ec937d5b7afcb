"""What came of a number of cameras: how late results were, and how many frames had none.

Pure: it is given records and the times at which they came. Not for: where they come from (`stage.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kinestream.messages import PoseResult

LOSS = 0.01
"""Part of the frames that may have no result in a number of cameras that fits: one in a hundred is a jerk
every few seconds, and trials on busy machines have some by chance.
"""

Seen = tuple[float, PoseResult]
"""When a record was in the subscriber's hands, in seconds since 1970, and the record."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`lost` is the part of the frames without a result; latencies are from capture to result."""

    cameras: int
    frames: int
    frames_per_s: float
    lost: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    inferred_ms: float
    batch: float

    def fits(self, target_ms: float) -> bool:
        """Whether these cameras are served within the target."""
        return bool(self.frames) and self.lost <= LOSS and self.p95_ms <= target_ms

    def as_dict(self, target_ms: float) -> dict[str, Any]:
        """For JSON: what is not known is null."""
        known = {name: None if value != value else value for name, value in asdict(self).items()}
        return {**known, "fits": self.fits(target_ms)}


def judge(cameras: int, seen: Iterable[Seen], from_s: float, until_s: float) -> Trial:
    """Judge the frames that were captured from `from_s` until `until_s`."""
    latencies, inferred, batches, frames, lost = [], [], [], 0, 0
    for at_s, record in seen:
        if record.status == "end" or not from_s <= (record.captured_us or 0) / 1e6 < until_s:
            continue
        frames += record.frames
        if record.status == "ok":
            latencies.append(1000 * at_s - (record.captured_us or 0) / 1000)
            inferred.append(record.timings.get("inferred", 0.0))
            batches.append(float(record.batch or 0))
        else:
            lost += record.frames
    return Trial(
        cameras=cameras,
        frames=frames,
        frames_per_s=len(latencies) / (until_s - from_s),
        lost=lost / frames if frames else 0.0,
        p50_ms=quantile(latencies, 0.50),
        p95_ms=quantile(latencies, 0.95),
        p99_ms=quantile(latencies, 0.99),
        inferred_ms=quantile(inferred, 0.50),
        batch=sum(batches) / len(batches) if batches else float("nan"),
    )


def quantile(values: Sequence[float], part: float) -> float:
    """The value that `part` of them do not exceed; NaN of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * part))] if ranked else float("nan")
