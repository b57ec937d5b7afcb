"""What somebody at a terminal wants to see of each camera, gathered from results and ledgers, as tables.

The tables fit 80 columns: where there is little room, long names go on in the next line; nothing is cut off.
Not for: reading results or ledgers (see `subscriber.py`, `ledger.py`).
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table

from kinestream.camerastate import CameraState
from kinestream.histogram import Histogram
from kinestream.ledger import COUNTS, Ledger
from kinestream.messages import PoseResult
from kinestream.workerreports import WorkerReport

_WINDOW = 300
"""Latencies remembered a camera: ten seconds at 30 fps."""

_RATE_S = 3.0
"""The rate is that of the last seconds, not since the beginning."""

_MAX_CAMERAS = 200
"""Those heard of last. With a camera a video file, somebody who watches for weeks sees many."""

_UNLIMITED = 10_000
"""Columns, more than any table needs."""

_WORDS = {"camera", "now", "last", "worker", "model", "stage", "state", "producer"}
"""Columns that hold no numbers."""


@dataclass(slots=True)
class _Seen:
    """What the results have told about one camera."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    committed_s: deque[float] = field(default_factory=deque)
    people: int = 0
    last: str = ""


class Results:
    """The running picture of every camera, from its results alone; give it records with `add`.

    `clock` is this process's, in seconds; only differences count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._redis_ahead_s = float("-inf")  # of our clock; records that come late make it look less
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def add(self, result: PoseResult) -> None:
        """Take one record into account."""
        seen = self._seen.setdefault(result.camera, _Seen())
        self._seen.move_to_end(result.camera)
        if len(self._seen) > _MAX_CAMERAS:
            self._seen.popitem(last=False)
        seen.statuses[result.status] += result.frames
        seen.last = f"{result.seq} {result.status}"
        if result.committed_ms is not None:
            self._redis_ahead_s = max(self._redis_ahead_s, result.committed_ms / 1000 - self._clock())
        if result.status != "ok":
            return
        seen.people = len(result.people)
        if result.committed_ms is not None:
            seen.committed_s.append(result.committed_ms / 1000)
            self._forget_old(seen)
            if result.captured_us is not None:
                seen.latencies_ms.append(result.committed_ms - result.captured_us / 1000)

    def rate(self, camera: str) -> float:
        """Poses a second that were committed in the last seconds, by Redis's clock as far as it was heard."""
        seen = self._seen.get(camera)
        if seen is None:
            return 0.0
        self._forget_old(seen)
        return len(seen.committed_s) / _RATE_S

    def _forget_old(self, seen: _Seen) -> None:
        since_s = self._clock() + self._redis_ahead_s - _RATE_S
        while seen.committed_s and seen.committed_s[0] <= since_s:
            seen.committed_s.popleft()

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

    def table(self) -> RenderableType:
        """One row a camera: how many records, how fast, how late. Without any, it says so."""
        columns = ("camera", "frames", "ok", "not ok", "people", "ok/s", "p50 ms", "p95 ms", "last")
        table = _Fitted(*columns, note="no record yet")
        for camera, seen in sorted(self._seen.items()):
            frames, ok = seen.statuses.total(), seen.statuses["ok"]
            counts = [str(count) for count in (frames, ok, frames - ok, seen.people)]
            rate = f"{self.rate(camera):.1f}"
            table.add_row(camera, *counts, rate, *self.latency_cells(camera), seen.last)
        return table

    def latency_cells(self, camera: str) -> list[str]:
        """p50 and p95 as text."""
        latency = self.latency_ms(camera)
        return [f"{ms:.0f}" for ms in latency] if latency else ["-", "-"]


def ledger_table(ledgers: Sequence[Ledger]) -> RenderableType:
    """One row a camera: every term of the sum."""
    table = _Fitted("camera", "now", "produced", *COUNTS, "in flight")
    for ledger in ledgers:
        counts = [getattr(ledger, name) for name in ("produced", *COUNTS, "in_flight")]
        table.add_row(ledger.camera, _now(ledger), *map(str, counts))
    return table


def live_table(ledgers: Sequence[Ledger], results: Results) -> RenderableType:
    """One row a camera: the sum, stale, failed and lost frames taken together, and how late results are."""
    table = _Fitted("camera", "now", "produced", "ok", "dropped", "other", "in flight", "p50 ms", "p95 ms")
    for ledger in ledgers:
        other = ledger.stale + ledger.failed + ledger.lost
        counts = [ledger.produced, ledger.ok, ledger.dropped, other, ledger.in_flight]
        row = [ledger.camera, _now(ledger), *map(str, counts), *results.latency_cells(ledger.camera)]
        table.add_row(*row)
    return table


def worker_table(reports: Sequence[WorkerReport]) -> RenderableType:
    """One row a worker: how fast, in which batches, how much in its hands; and its target, if any has one."""
    columns = ["worker", "model", "committed", "frames/s", "batch", "held"]
    steered = any(report.target_ms for report in reports)
    table = _Fitted(*columns, *(["target ms", "load drops"] * steered), note="no worker reports")
    for report in reports:
        batch = f"{report.batch:.1f}" + f" of {report.batch_limit}" * bool(report.target_ms)
        figures = [str(report.committed), f"{report.rate:.1f}", batch, str(report.held)]
        target = f"{report.target_ms:g}" if report.target_ms else "-"
        table.add_row(report.name, report.model, *figures, *([target, str(report.dropped_load)] * steered))
    return table


def state_table(states: Sequence[CameraState]) -> RenderableType:
    """One row a camera that somebody tells of: how it is, how fast and how even its pictures come."""
    table = _Fitted("camera", "state", "fps", "jitter ms", "last frame", "producer")
    for state in states:
        ago = "-" if state.frame_ago_s is None else f"{state.frame_ago_s:.1f} s ago"
        figures = ["-" if one is None else f"{one:.1f}" for one in (state.fps, state.jitter_ms)]
        table.add_row(state.camera, state.state, *figures, ago, state.producer or "-")
    return table


def stage_table(stages: Mapping[str, Histogram]) -> RenderableType:
    """One row a stage: percentiles in milliseconds, and of how many frames."""
    table = _Fitted("stage", "p50 ms", "p95 ms", "p99 ms", "frames")
    for stage, histogram in stages.items():
        quantiles = [histogram.quantile(part) or 0.0 for part in (0.5, 0.95, 0.99)]
        table.add_row(stage, *(f"{ms:.1f}" for ms in quantiles), str(histogram.total))
    return table


def sum_line(ledger: Ledger) -> str:
    """The sum of one run in words and numbers, with the causes of what is not ok."""
    terms = " + ".join(f"{getattr(ledger, name)} {name}" for name in COUNTS)
    notes = ["balanced" if ledger.balanced else "NOT BALANCED", *filter(None, [causes_text(ledger)])]
    return (
        f"{ledger.camera}: {ledger.produced} produced = {terms} + {ledger.in_flight} in flight"
        f" ({'; '.join(notes)})"
    )


def causes_text(ledger: Ledger) -> str:
    """What is not ok, by cause: `57 dropped no-room, 3 stale too-old`; empty if there are no causes."""
    causes = sorted(ledger.causes.items())
    return ", ".join(f"{frames} {name.replace(':', ' ')}" for name, frames in causes)


def _now(ledger: Ledger) -> str:
    """What the camera is doing: its lane while its run is open, else that it ended."""
    return ledger.lane if ledger.state == "open" else ledger.state


class _Fitted:
    """A table of names and numbers that comes closer together before it folds its cells, the widest first."""

    def __init__(self, *columns: str, note: str = "") -> None:
        self._columns = columns
        self._rows: list[Sequence[str]] = []
        self._note = note

    def add_row(self, *cells: str) -> None:
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update(max_width=_UNLIMITED)  # else a table measures what it would be squeezed to
        for gap in (2, 1):
            table = self._table(gap)
            if Measurement.get(console, unlimited, table).maximum <= options.max_width:
                break
        yield table
        if not self._rows and self._note:
            yield self._note

    def _table(self, gap: int) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
        for column in self._columns:
            table.add_column(column, justify="left" if column in _WORDS else "right", overflow="fold")
        for row in self._rows:
            table.add_row(*row)
        return table
