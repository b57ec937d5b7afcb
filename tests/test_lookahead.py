"""What batches cost, and when to take the next frames: with numbers, and no clock but the test's.

Not for: what a worker does with them (see `test_target.py`, `test_worker.py`).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream_workers.costs import Costs
from kinestream_workers.demand import Demand
from kinestream_workers.lookahead import Lookahead
from kinestream_workers.settings import WorkerSettings


def test_costs_lie_on_lines_between_what_was_measured_and_go_on_beyond() -> None:
    costs = Costs({1: 10.0, 4: 16.0, 8: 32.0})
    assert [costs.ms(size) for size in (0, 1, 2, 4, 6, 8, 10)] == [0, 10, 12, 16, 24, 32, 40]
    assert costs.quick_ms(4) == 16, "nothing has been late or early yet"


def test_every_batch_corrects_all_sizes() -> None:
    costs = Costs({1: 10.0, 4: 16.0})
    for _ in range(100):
        costs.saw(4, 32.0)
    assert costs.ms(1) == pytest.approx(20, rel=0.01)
    for number in range(100):
        costs.saw(4, 24.0 if number % 2 else 40.0)
    assert costs.quick_ms(4) < 24 < costs.ms(4) < 40, "most batches take longer than a quick one"


def test_without_any_measurement_the_first_batch_is_one() -> None:
    costs = Costs()
    assert costs.ms(4) == 0
    costs.saw(4, 40.0)
    assert [costs.ms(size) for size in (1, 4, 8)] == [10, 40, 40]


def lookahead(take_s: float = 0.002, prepare_s: float = 0.004) -> Lookahead:
    """An engine of 10 ms + 5 ms an image; a batch of four was decoded in `prepare_s`."""
    ahead = Lookahead(Costs({1: 15.0, 4: 30.0, 8: 50.0}))
    ahead.took(take_s)
    ahead.decoders.begun(4, 0.0)
    ahead.prepared(prepare_s)
    return ahead


def settled(take_s: float, prepare_s: float) -> Lookahead:
    """The same, after so many of each that it knows how long they take."""
    ahead = lookahead(take_s, prepare_s)
    for _ in range(100):
        ahead.took(take_s)
        ahead.decoders.begun(4, 0.0)
        ahead.prepared(prepare_s)
    return ahead


def test_an_idle_engine_takes_at_once() -> None:
    assert lookahead().take_in_s(0, 0, 100.0) == 0


def test_a_busy_engine_takes_as_late_as_it_can() -> None:
    ahead = lookahead()
    ahead.engine.begun(4, 100.0)
    due_s = 100.0 + 0.030 - ahead.lead_s
    assert ahead.take_in_s(4, 0, 100.0) == pytest.approx(due_s - 100.0)
    assert ahead.take_in_s(4, 0, due_s + 0.001) == 0
    assert ahead.take_in_s(8, 0, due_s + 0.001) > 0, "the next batch is ready already"
    ahead.engine.ended(100.03)
    assert ahead.take_in_s(0, 0, 100.03) == 0


def test_batches_that_were_stale_or_failed_teach_nothing() -> None:
    ahead = lookahead()
    for _ in range(20):
        ahead.engine.begun(8, 100.0)
        ahead.engine.ended(100.0, (0, 0.0))
    assert ahead._costs.ms(8) == 50
    ahead.engine.begun(8, 100.0)
    ahead.engine.ended(101.0, (8, 0.060))
    assert 50 < ahead._costs.ms(8) <= 60, "what the engine took, and not whoever concluded"


def test_several_batches_are_done_one_after_the_other() -> None:
    ahead = lookahead()
    for _ in range(2):
        ahead.engine.begun(4, 100.0)
    assert ahead.engine.frames == 8
    assert ahead.idle_in_s(8, 100.01) == pytest.approx(0.05)
    ahead.engine.ended(100.03)
    assert ahead.idle_in_s(4, 100.03) == pytest.approx(0.03)


def test_what_gives_way_is_ready_when_the_engine_has_nothing_else() -> None:
    ahead = settled(take_s=0.002, prepare_s=0.01)
    assert ahead.spare_in_s(0, 100.0) == 0
    ahead.engine.begun(4, 100.0)
    assert ahead.spare_in_s(4, 100.0) == pytest.approx(0.030 - 0.012, abs=1e-3)
    assert ahead.spare_in_s(4, 100.02) == 0
    assert ahead.spare_in_s(8, 100.02) > 0.020, "one is on its way"
    ahead.engine.begun(4, 100.02)
    assert ahead.spare_in_s(8, 100.02) > 0.020, "and waits for the engine by now"
    ahead.engine.ended(100.03)
    assert ahead.spare_in_s(4, 100.03) > 0
    assert ahead.spare_in_s(4, 100.05) == 0, "the engine is at it, and nearly done"
    assert ahead.spare_in_s(5, 101.0) > 0, "one that hangs for a while is not given more and more"


def test_an_engine_that_would_hardly_idle_is_not_given_what_gives_way_before_its_end() -> None:
    ahead = settled(take_s=0.0005, prepare_s=0.001)
    ahead.engine.begun(4, 100.0)
    assert ahead.spare_in_s(4, 100.0) == pytest.approx(0.030)
    assert ahead.spare_in_s(4, 100.0295) == 0.005
    assert ahead.spare_in_s(4, 100.05) == 0.005, "it should have ended, and has not"
    ahead.engine.ended(100.06)
    assert ahead.spare_in_s(0, 100.06) == 0


def test_with_a_target_what_gives_way_goes_along_unless_frames_are_in_line() -> None:
    target = WorkerSettings(max_batch=32, target_p95_ms=60.0)
    demand = Demand(target, lambda: 0, {1: 2.7, 32: 24.4}, clock=lambda: 100.0)
    assert demand.decide().spare > 4
    assert demand.along() == demand.decision.spare
    demand.came(4)
    demand.preparing(4)
    assert demand.along() == 0, "they are with the decoders"
    demand.prepared()
    demand.begun(4)
    assert demand.along() == demand.decision.spare, "the engine is at them"
    demand.came(1)
    assert demand.along() == 0
    without = Demand(WorkerSettings(), lambda: 0, {1: 2.7, 32: 24.4})
    assert without.along() == 0


def test_decoders_that_are_slower_than_the_engine_are_not_flooded_either() -> None:
    ahead = lookahead(prepare_s=0.08)
    ahead.decoders.begun(4, 100.0)
    assert ahead.take_in_s(4, 0, 100.0) == pytest.approx(0.08 - 1.5 * 0.002 - 0.002)
    assert ahead.take_in_s(4, 0, 100.08) == 0


@given(
    waiting=st.integers(0, 64),
    queued=st.integers(0, 64),
    size=st.integers(0, 32),
    since_s=st.floats(0, 1),
    lead_s=st.floats(0, 1),
)
def test_it_never_waits_for_longer_than_what_is_in_hand_takes(
    waiting: int, queued: int, size: int, since_s: float, lead_s: float
) -> None:
    ahead = lookahead(lead_s, lead_s)
    ahead.engine.begun(size, 0.0)
    longest = (ahead._costs.ms(size) + ahead._costs.ms(waiting) + ahead._preparing.ms(queued)) / 1000
    assert 0 <= ahead.take_in_s(waiting, queued, since_s) <= longest
