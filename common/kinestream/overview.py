"""What somebody at a terminal wants to see of each camera, gathered from results and ledgers, as tables.

Not for: reading either of them (see `subscriber.py`, `ledger.py`).
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table

from kinestream.ledger import COUNTS, Ledger
from kinestream.messages import PoseResult

_WINDOW = 300
"""Latencies remembered a camera: ten seconds at 30 fps."""

_RATE_S = 3.0
"""The rate is that of the last seconds, not since the beginning."""


@dataclass(slots=True)
class _Seen:
    """What the results have told about one camera."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    arrivals_s: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    people: int = 0
    last: str = ""


class Results:
    """The running picture of every camera, from its results alone; give it records with `add`."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(self, result: PoseResult) -> None:
        """Take one record into account."""
        seen = self._seen.setdefault(result.camera, _Seen())
        seen.statuses[result.status] += result.frames
        seen.last = f"{result.seq} {result.status}"
        if result.status == "ok":
            seen.people = len(result.people)
            seen.arrivals_s.append(time.monotonic())
            if result.committed_ms is not None and result.captured_us is not None:
                seen.latencies_ms.append(result.committed_ms - result.captured_us / 1000)

    def latency_ms(self, camera: str) -> tuple[float, float] | None:
        """p50 and p95 of the time from capture to commit in ms; None without at least two results.

        It compares the clock of the camera's host with that of Redis, so it means something only where these
        agree.
        """
        seen = self._seen.get(camera)
        if seen is None or len(seen.latencies_ms) < 2:
            return None
        cuts = statistics.quantiles(seen.latencies_ms, n=20, method="inclusive")
        return cuts[9], cuts[18]

    def table(self) -> Table:
        """One row a camera: how many records, how fast, how late."""
        table = _table("camera", "frames", "ok", "people", "ok/s", "latency p50", "p95 ms", "last")
        now_s = time.monotonic()
        for camera, seen in sorted(self._seen.items()):
            rate = sum(1 for arrival_s in seen.arrivals_s if now_s - arrival_s <= _RATE_S) / _RATE_S
            frames = seen.statuses.total()
            table.add_row(
                camera,
                *map(str, (frames, seen.statuses["ok"], seen.people)),
                f"{rate:.1f}",
                *self.latency_cells(camera),
                seen.last,
            )
        return table

    def latency_cells(self, camera: str) -> list[str]:
        """p50 and p95 as text."""
        latency = self.latency_ms(camera)
        return [f"{ms:.0f}" for ms in latency] if latency else ["-", "-"]


def ledger_table(ledgers: Sequence[Ledger]) -> Table:
    """One row a camera: every term of the sum."""
    table = _table("camera", "lane", "run", "state", "produced", *COUNTS, "in flight", "waiting", "sum")
    for ledger in ledgers:
        counts = [getattr(ledger, name) for name in ("produced", *COUNTS, "in_flight", "waiting")]
        balance = "balanced" if ledger.balanced else f"off by {ledger.produced - ledger.accounted}"
        table.add_row(ledger.camera, ledger.lane, str(ledger.run), ledger.state, *map(str, counts), balance)
    return table


def live_table(ledgers: Sequence[Ledger], results: Results) -> Table:
    """One row a camera, narrow enough for 80 columns: the main terms of the sum, and how late results are."""
    table = _table("camera", "lane", "produced", "ok", "dropped", "waiting", "held", "p50 ms", "p95 ms")
    for ledger in ledgers:
        counts = [getattr(ledger, name) for name in ("produced", "ok", "dropped", "waiting", "held")]
        table.add_row(ledger.camera, ledger.lane, *map(str, counts), *results.latency_cells(ledger.camera))
    return table


def sum_line(ledger: Ledger) -> str:
    """The sum of one run in words and numbers, with the causes of what is not ok."""
    terms = " + ".join(f"{getattr(ledger, name)} {name}" for name in COUNTS)
    causes = ", ".join(f"{frames} {name.replace(':', ' ')}" for name, frames in sorted(ledger.causes.items()))
    return (
        f"{ledger.camera}: {ledger.produced} produced = {terms} + {ledger.in_flight} in flight"
        f" ({'balanced' if ledger.balanced else 'NOT BALANCED'}{'; ' + causes if causes else ''})"
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    words = {"camera", "lane", "state", "sum", "last"}
    for column in columns:
        table.add_column(column, justify="left" if column in words else "right", no_wrap=True)
    return table
