"""The numbers of a run, for people and as JSON: frames by outcome, faults by kind, pauses, memory.

Pure: from evidence to numbers. Not for: judging them (see `verdict.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kinestream.chaos.schedule import Fault
from kinestream.chaos.verdict import Evidence, Told, thirds


@dataclass(slots=True)
class Happened:
    """What was done: the faults, and of each fault of Redis its kind and when it answered again (ms, UTC)."""

    faults: list[Fault] = field(default_factory=list)
    redis_back_ms: list[tuple[str, int]] = field(default_factory=list)
    begun_ms: int = 0
    ended_ms: int = 0


def figures(evidence: Evidence, happened: Happened) -> dict[str, Any]:
    """Return what is printed at the end, ready for JSON. Times are in seconds, memory in MiB."""
    outcomes: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    for told in evidence.commits:
        if told.status != "end":
            outcomes[told.status] += told.last - told.seq + 1
            if told.cause:
                causes[f"{told.status} {told.cause}"] += told.last - told.seq + 1
    poisoned = {camera for camera, _ in evidence.poison}  # it sends now and then only
    results_ms = sorted(told.committed_ms for told in evidence.commits if told.status == "ok")
    return {
        "frames": sum(outcomes.values()),
        "runs": len(evidence.ledgers),
        "outcomes": dict(sorted(outcomes.items())),
        "causes": dict(sorted(causes.items())),
        "faults": dict(sorted(Counter(fault.kind for fault in happened.faults).items())),
        "longest_pause_s": {
            camera: longest_pause_s(evidence.commits, camera, happened)
            for camera in sorted(evidence.lanes)
            if camera not in poisoned
        },
        "resumed_s": [
            {"after": kind, "s": resumed_s(results_ms, back_ms)} for kind, back_ms in happened.redis_back_ms
        ],
        "memory_mib": {
            kind: [round(before / 2**20, 1), round(after / 2**20, 1)]
            for kind, (before, after) in thirds(evidence.samples).items()
        },
    }


def longest_pause_s(commits: Iterable[Told], camera: str, happened: Happened) -> float:
    """The longest time without a pose of this camera, while faults were going on."""
    times = [told.committed_ms for told in commits if told.camera == camera and told.status == "ok"]
    inside = [ms for ms in times if happened.begun_ms <= ms <= happened.ended_ms]
    marks = [happened.begun_ms, *sorted(inside), happened.ended_ms]
    return round(max(after - before for before, after in pairwise(marks)) / 1000, 2)


def resumed_s(results_ms: Sequence[int], back_ms: int) -> float | None:
    """From the moment at which Redis answered again to the next pose of any camera; None if none came."""
    later = [ms for ms in results_ms if ms >= back_ms]
    return round((later[0] - back_ms) / 1000, 2) if later else None


def lines(found: dict[str, Any]) -> list[str]:
    """The same as lines for people."""
    resumed = [f"{one['after']} {one['s']} s" for one in found["resumed_s"]]
    memory = [f"{kind} {first} → {last} MiB" for kind, (first, last) in found["memory_mib"].items()]
    return [
        f"frames           {found['frames']} in {found['runs']} runs",
        f"  by outcome     {_counts(found['outcomes'])}",
        f"  by cause       {_counts(found['causes'])}",
        f"faults           {sum(found['faults'].values())}",
        f"  by kind        {_counts(found['faults'])}",
        f"longest pause    {', '.join(f'{name} {s} s' for name, s in found['longest_pause_s'].items())}",
        f"back after Redis {', '.join(resumed) or '-'}",
        f"memory           {', '.join(memory) or '-'} (first and last third)",
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items()) or "-"
