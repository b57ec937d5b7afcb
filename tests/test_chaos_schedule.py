"""The schedule of `kinestream chaos`: the same seed gives the same faults, and nobody is hit twice at once.

Not for: doing them (see `test_chaos.py`).
"""

from __future__ import annotations

from collections import Counter

import pytest

from kinestream.chaos.schedule import KINDS, RECOVERY_S, Fault, plan

TARGETS = {
    "worker": ["worker-1", "worker-2"],
    "camera": ["camera-1", "camera-2", "camera-3"],
    "network": ["camera-2"],
    "redis": ["redis"],
    "subscriber": ["watch"],
    "poison": ["poison"],
}


def faults(seed: int, *, seconds: float = 600, per_minute: float = 20, **targets: list[str]) -> list[Fault]:
    return plan(seed, seconds=seconds, faults_per_minute=per_minute, targets={**TARGETS, **targets})


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    assert faults(7) == faults(7)
    assert faults(7) != faults(8)


@pytest.mark.parametrize(("seconds", "per_minute", "count"), [(600, 20, 200), (60, 6, 6), (5, 1, 1)])
def test_as_many_as_were_asked_for_in_order_and_within_the_time(
    seconds: float, per_minute: float, count: int
) -> None:
    found = faults(1, seconds=seconds, per_minute=per_minute)
    times = [fault.at_s for fault in found]
    assert len(found) == count
    assert times == sorted(times) and times[0] > 0 and times[-1] < seconds
    assert max(b - a for a, b in zip([0, *times], [*times, seconds], strict=True)) < 2 * seconds / count


@pytest.mark.parametrize("seed", range(20))
def test_a_target_has_time_to_recover(seed: int) -> None:
    free_s: dict[str, float] = {}
    for fault in faults(seed, per_minute=100):
        assert fault.at_s >= free_s.get(fault.target, 0.0)
        free_s[fault.target] = fault.at_s + fault.duration_s + RECOVERY_S


def test_every_kind_comes_about_equally_often_and_hits_whom_it_may() -> None:
    found = faults(3)
    times = Counter(fault.kind for fault in found)
    assert set(times) == set(KINDS)
    assert max(times.values()) - min(times.values()) <= 2
    for fault in found:
        kind = KINDS[fault.kind]
        assert fault.target in TARGETS[kind.role]
        assert kind.shortest_s <= fault.duration_s <= kind.longest_s


def test_kinds_without_a_target_are_left_out() -> None:
    found = faults(3, network=[], subscriber=[])
    assert {fault.target for fault in found} == {"worker-1", "worker-2", "redis", "poison"} | {
        *TARGETS["camera"]
    }
    with pytest.raises(ValueError, match="needs targets"):
        plan(1, seconds=60, faults_per_minute=20, targets={})


def test_where_nobody_is_free_a_fault_is_left_out() -> None:
    found = plan(1, seconds=30, faults_per_minute=240, targets={"redis": ["redis"]})
    assert 1 < len(found) < 10


def test_a_fault_as_a_line() -> None:
    assert str(Fault(12.34, "freeze-redis", "redis", 5.04)) == (
        "  12.3 s  freeze-redis     redis      5.0 s  (SIGSTOP, and later SIGCONT)"
    )
