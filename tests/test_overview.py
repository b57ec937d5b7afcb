"""What a table says of a camera is so, and it fits 80 columns without losing a character."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console, RenderableType

from kinestream.ledger import Ledger
from kinestream.messages import PoseResult
from kinestream.overview import Results, causes_text, ledger_table, live_table, sum_line

LONG = "a-camera-whose-name-is-as-long-as-a-name-may-be-which-is-long-64"
MILLIONS = {
    "produced": 23456789,
    "ok": 12345678,
    "dropped": 9876543,
    "stale": 87654,
    "failed": 76543,
    "lost": 6543,
}


def ledger(camera: str = "left", **changes: Any) -> Ledger:
    values: dict[str, Any] = {
        "camera": camera,
        "run": 1795345863,
        "state": "open",
        "lane": "live",
        "source": "x",
    }
    values |= {"produced": 10, "ok": 5, "dropped": 2, "stale": 1, "failed": 0, "lost": 0}
    return Ledger(**values | {"in_flight": 2, "held": 1} | changes)


def lines(table: RenderableType, width: int = 80) -> list[str]:
    """What a terminal of that width shows."""
    output = io.StringIO()
    Console(file=output, width=width).print(table)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def cells(line: str) -> list[str]:
    return line.split()


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def results(clock: Clock) -> Results:
    return Results(clock)


def committed(
    seq: int, camera: str = "left", *, at_s: float | None = 0.0, latency_ms: float = 100, **changes: Any
) -> PoseResult:
    """A record that was committed at a time of Redis's clock, `latency_ms` after its capture."""
    committed_ms = None if at_s is None else 1_700_000_000_000 + round(at_s * 1000)
    values: dict[str, Any] = {
        "camera": camera,
        "run": 1,
        "seq": seq,
        "status": "ok",
        "committed_ms": committed_ms,
    }
    if committed_ms is not None:
        values["captured_us"] = round((committed_ms - latency_ms) * 1000)
    return PoseResult(**values | changes)


def test_the_table_of_results_counts(results: Results) -> None:
    results.add(committed(0))
    results.add(committed(1, seq_to=5, status="dropped", cause="encoder-failed"))
    results.add(committed(6, status="failed", cause="undecodable"))
    results.add(committed(7))
    results.add(committed(8, status="end"))
    header, row = lines(results.table())
    assert header.split("  ")[0] == "camera"
    assert cells(row) == ["left", "8", "2", "6", "0", "0.7", "100", "100", "8", "end"]


def test_cameras_are_sorted_and_there_may_be_none(results: Results) -> None:
    assert lines(results.table())[1] == "no record yet"
    for camera in ("b", "a", "c", "b"):
        results.add(committed(0, camera))
    assert [cells(line)[0] for line in lines(results.table())[1:]] == ["a", "b", "c"]


def test_cameras_of_long_ago_are_forgotten(results: Results) -> None:
    results.add(committed(0, "first"))
    for number in range(500):
        results.add(committed(0, f"video-{number}"))
        results.add(committed(number, "always"))
    shown = {cells(line)[0] for line in lines(results.table())[1:]}
    assert len(shown) == 200
    assert {"always", "video-499"} <= shown and "first" not in shown


def test_latency_is_that_of_the_last_results(results: Results) -> None:
    assert results.latency_ms("left") is None
    results.add(committed(0, latency_ms=50))
    assert results.latency_ms("left") is None, "one says nothing of others"
    for seq in range(1, 400):
        results.add(committed(seq, latency_ms=10 if seq < 100 else seq))
    assert results.latency_ms("left") == pytest.approx((249.5, 384.05))
    assert results.latency_cells("left") == ["250", "384"]
    assert results.latency_ms("right") is None and results.latency_cells("right") == ["-", "-"]


def test_the_rate_is_that_of_the_last_seconds(results: Results, clock: Clock) -> None:
    for number in range(120):
        clock.now_s = 1000 + number / 30
        results.add(committed(number, at_s=number / 30))
    assert results.rate("left") == pytest.approx(30, abs=0.4)
    clock.now_s += 1.5
    assert results.rate("left") == pytest.approx(15, abs=0.4), "it falls while nothing comes"
    clock.now_s += 1.5
    assert results.rate("left") == 0
    assert results.rate("right") == 0


def test_a_backlog_does_not_look_like_speed(results: Results, clock: Clock) -> None:
    for number in range(3000):
        results.add(committed(number, at_s=number / 30))
        clock.now_s += 0.0001
    assert results.rate("left") == pytest.approx(30, abs=4)


def test_records_that_nobody_dated(results: Results) -> None:
    results.add(committed(0, at_s=None))
    results.add(committed(1, at_s=None, captured_us=5))
    row = lines(results.table())[1]
    assert cells(row) == ["left", "2", "2", "0", "0", "0.0", "-", "-", "1", "ok"]


def test_the_table_of_ledgers_has_every_term(results: Results) -> None:
    header, row = lines(ledger_table([ledger()]))
    titles = ["camera", "now", "produced", "ok", "dropped", "stale", "failed", "lost", "in flight"]
    assert re.split(r" {2,}", header) == titles
    assert cells(row) == ["left", "live", "10", "5", "2", "1", "0", "0", "2"]
    assert "ended" in lines(ledger_table([ledger(state="ended")]))[1]
    header, row = lines(live_table([ledger(lane="every-frame")], results))
    assert cells(row) == ["left", "every-frame", "10", "5", "2", "1", "2", "-", "-"]


@pytest.mark.parametrize("width", [80, 60, 200])
def test_nothing_is_cut_off(results: Results, width: int) -> None:
    large = [ledger("left", **MILLIONS), ledger(LONG, lane="every-frame", **MILLIONS)]
    for seq in range(3):
        results.add(committed(12_345_670 + seq, LONG, latency_ms=123456))
        results.add(committed(12_345_670, "left", seq_to=23_456_789, status="dropped", cause="no-room"))
    for table in (ledger_table(large), live_table(large, results), results.table()):
        shown = lines(table, width)
        assert max(map(len, shown)) <= width
        assert "…" not in "".join(shown)
        columns = "".join("".join(re.findall(r"^(\S+)(?:\s|$)", line)) for line in shown)
        assert LONG in columns, "the name is there to its last letter"
        if width >= 80:
            numbers = re.findall(r"\d+", "\n".join(shown))
            assert {"12345672"} <= {*numbers} or {"23456789", "12345678"} <= {*numbers}


def test_columns_come_closer_together_before_anything_is_folded() -> None:
    table = ledger_table([ledger(**MILLIONS)])
    natural = len(lines(table, 200)[0])
    gaps = 8
    assert "ok  dropped" in lines(table, natural)[0]
    closer = lines(table, natural - 1)
    assert "ok dropped" in closer[0]
    assert len(closer) == len(lines(table, natural - gaps)) == 2
    assert len(lines(table, natural - gaps - 1)) > 2


def test_the_sum_in_words() -> None:
    causes = {"stale:too-old": 1, "dropped:no-room": 2}
    assert sum_line(ledger(causes=causes)) == (
        "left: 10 produced = 5 ok + 2 dropped + 1 stale + 0 failed + 0 lost + 2 in flight "
        "(balanced; 2 dropped no-room, 1 stale too-old)"
    )
    assert sum_line(ledger(lost=1)).endswith("(NOT BALANCED)")
    assert causes_text(ledger()) == ""
