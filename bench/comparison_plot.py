"""The plot of `compare.py`: frames a second, CPU a frame by process, and the p95 by load.

Not for: measuring.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot(figures: dict[str, Any], path: Path) -> None:
    """Draw them into a file whose ending names its format."""
    rounds, latency = figures["throughput"], figures["latency"]
    parts, axes = plt.subplots(1, 3 if latency else 2, figsize=(15 if latency else 10, 4))
    names = [*rounds]
    speeds = [[one["fps"] for one in rounds[name]] for name in names]
    middle = [statistics.median(values) for values in speeds]
    below = [median - min(values) for median, values in zip(middle, speeds, strict=True)]
    above = [max(values) - median for median, values in zip(middle, speeds, strict=True)]
    axes[0].bar(names, middle, yerr=[below, above], capsize=4)
    axes[0].set(title=f"frames/s, {figures['model']}")
    bottoms = [0.0] * len(names)
    processes = sorted({process for ones in rounds.values() for process in ones[0]["cpu_ms"]})
    for process in processes:
        used = [statistics.median(one["cpu_ms"].get(process, 0.0) for one in rounds[name]) for name in names]
        axes[1].bar(names, used, bottom=bottoms, label=process)
        bottoms = [bottom + ms for bottom, ms in zip(bottoms, used, strict=True)]
    axes[1].set(title="ms of CPU a frame")
    axes[1].legend()
    if latency:
        for name, loads in latency.items():
            axes[2].plot(
                [int(load) for load in loads], [told["p95"] for told in loads.values()], "o-", label=name
            )
        axes[2].set(title="p95 ms, capture to result", xlabel="% of its own capacity", yscale="log")
        axes[2].legend()
    for axis in axes[:2]:
        axis.tick_params(axis="x", rotation=30)
    parts.tight_layout()
    parts.savefig(path)
