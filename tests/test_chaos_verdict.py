"""The verdict of `kinestream chaos`: every kind of broken promise, planted, is found and named; a good run is
not.

Not for: gathering what it judges (see `test_chaos.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from kinestream.chaos.figures import Happened, figures, lines
from kinestream.chaos.schedule import Fault
from kinestream.chaos.verdict import Evidence, Sample, Told, broken_promises
from kinestream.ledger import Ledger

MIB = 2**20


def told(
    camera: str, run: int, seq: int, status: str = "ok", *, last: int | None = None, **more: Any
) -> Told:
    return Told(camera, run, seq, seq if last is None else last, status, **more)


def ledger(camera: str, run: int, produced: int, **counts: Any) -> Ledger:
    facts = {"ok": 0, "dropped": 0, "stale": 0, "failed": 0, "lost": 0, "in_flight": 0, "held": 0, **counts}
    return Ledger(camera=camera, run=run, state="ended", lane="", source="", produced=produced, **facts)


GATE = [told("gate", 1, seq, committed_ms=1000 * seq) for seq in range(5)]
HALL = [
    told("hall", 4, 0, committed_ms=500),
    told("hall", 4, 1, "dropped", last=3, cause="no-room"),
    told("hall", 4, 4, "stale", cause="too-old"),
    told("hall", 4, 5, "end"),
    told("hall", 6, 0, committed_ms=9000),
    told("hall", 6, 1, "end"),
]
POISON = [
    told("poison", 2, 0),
    told("poison", 2, 1, "failed", cause="undecodable"),
    told("poison", 2, 2, "end"),
]

ORDERED = [*GATE, told("gate", 1, 5, "end"), *HALL, *POISON]
COMMITS = [GATE[1], HALL[0], GATE[0], *HALL[1:], *GATE[2:], told("gate", 1, 5, "end"), *reversed(POISON)]

LEDGERS = [
    ledger("gate", 1, 5, ok=5),
    ledger("hall", 4, 5, ok=1, dropped=3, stale=1),
    ledger("hall", 6, 1, ok=1),
    ledger("poison", 2, 2, ok=1, failed=1),
]


def evidence(**changed: Any) -> Evidence:
    good = Evidence(
        lanes={"gate": "every-frame", "hall": "live", "poison": "every-frame"},
        commits=COMMITS,
        ordered={"in order": ORDERED, "resumed": ORDERED},
        ledgers=LEDGERS,
        poison={("poison", 2): {1}},
        samples=[Sample(float(s), {"redis": (10 + s) * MIB, "worker": 90 * MIB}) for s in range(9)],
    )
    return replace(good, **changed)


def test_a_good_run_breaks_nothing() -> None:
    assert broken_promises(evidence()) == []


def without(records: Sequence[Told], *places: int) -> list[Told]:
    return [record for place, record in enumerate(records) if place not in places]


def changed_ledger(number: int, **facts: Any) -> list[Ledger]:
    return [replace(one, **facts) if place == number else one for place, one in enumerate(LEDGERS)]


def both(records: Sequence[Told]) -> dict[str, Any]:
    """What subscribers see if the records of the run are these."""
    ordered = sorted(records, key=lambda one: (one.camera, one.run, one.seq, one.status == "end"))
    return {"commits": records, "ordered": {"in order": ordered}}


@pytest.mark.parametrize(
    ("changed", "promises"),
    [
        pytest.param(
            both(without(COMMITS, 0)),
            ["gate run 1: the ledger counts 5 ok, 4 were published", "gate run 1: frame 1 has no record"],
            id="a record that was lost",
        ),
        pytest.param(
            both([*COMMITS, GATE[3]]),
            [
                "gate run 1: the ledger counts 5 ok, 6 were published",
                "gate run 1: frame 3 was published 2 times",
            ],
            id="a worker that commits twice",
        ),
        pytest.param(
            {**both([*COMMITS, GATE[3]]), "ledgers": changed_ledger(0, ok=6)},
            [
                "gate run 1 produced 5 frames and accounts for 6",
                "gate run 1: frame 3 was published 2 times",
            ],
            id="a worker that commits twice, and is counted twice",
        ),
        pytest.param(
            {"ledgers": changed_ledger(0, state="open")}, ["gate run 1 is open, not ended"], id="open"
        ),
        pytest.param(
            {"ledgers": changed_ledger(0, in_flight=1, held=1)},
            [
                "gate run 1 has 1 frames in flight, 1 of them held",
                "gate run 1 produced 5 frames and accounts for 6",
            ],
            id="a hold that is left",
        ),
        pytest.param(
            {"ledgers": changed_ledger(0, produced=6)},
            [
                "gate run 1 produced 6 frames and accounts for 5",
                "gate run 1: frame 5 has no record",
                "gate run 1: one end of 6 frames is wanted, got [5]",
            ],
            id="a frame that vanished",
        ),
        pytest.param(
            {"ledgers": changed_ledger(0, produced=4)},
            [
                "gate run 1 produced 4 frames and accounts for 5",
                "gate run 1: frame 4 has a record, of 4 frames produced",
                "gate run 1: one end of 4 frames is wanted, got [5]",
            ],
            id="a frame that never was",
        ),
        pytest.param(
            both([*COMMITS, told("hall", 6, 1, "end")]),
            ["hall run 6: one end of 1 frames is wanted, got [1, 1]"],
            id="a run that ends twice",
        ),
        pytest.param({"ledgers": LEDGERS[:3]}, ["poison run 2 has records and no ledger"], id="no ledger"),
        pytest.param(
            {"ordered": {"resumed": [ORDERED[1], ORDERED[0], *ORDERED[2:]]}},
            [
                "the subscriber resumed was given 6 of 6 frames and ends of gate: number 0 is ok 1-1, should "
                "be ok 1-0"
            ],
            id="out of order",
        ),
        pytest.param(
            {"ordered": {"resumed": [*ORDERED[:3], *ORDERED[2:]]}},
            [
                "the subscriber resumed was given 7 of 6 frames and ends of gate: number 3 is ok 1-2, should "
                "be ok 1-3"
            ],
            id="told twice",
        ),
        pytest.param(
            {"ordered": {"resumed": ORDERED[:-1]}},
            [
                "the subscriber resumed was given 2 of 3 frames and ends of poison: number 2 is nothing, "
                "should be end 2-2"
            ],
            id="never told the end",
        ),
        pytest.param(
            {"ordered": {"late": [told("gate", 1, 0, "missing"), *ORDERED[1:]]}},
            [
                "the subscriber late was given 6 of 6 frames and ends of gate: number 0 is missing 1-0, "
                "should be ok 1-0"
            ],
            id="given up on",
        ),
        pytest.param(
            {"lanes": {"gate": "every-frame", "hall": "every-frame", "poison": "every-frame"}},
            ["hall run 4: frame 1 is dropped, no-room", "hall run 4: frame 4 is stale, too-old"],
            id="a complete lane that loses frames",
        ),
        pytest.param(
            {"poison": {("poison", 2): {0}}},
            [
                "poison run 2: frame 0 is poison and did not fail",
                "poison run 2: frame 1 failed beside poison",
            ],
            id="poison takes its neighbour along",
        ),
        pytest.param(
            {"poison": {}}, ["poison run 2: frame 1 is failed, undecodable"], id="a good frame that fails"
        ),
        pytest.param(
            {"samples": [Sample(float(s), {"worker": (90 + 12 * s) * MIB}) for s in range(9)]},
            ["memory of worker grew from 102 to 174 MiB"],
            id="memory that grows",
        ),
        pytest.param({"incidents": ["process 7 is left"]}, ["process 7 is left"], id="on the way"),
    ],
)
def test_what_is_broken_is_named(changed: dict[str, Any], promises: list[str]) -> None:
    assert broken_promises(evidence(**changed)) == promises


def test_figures() -> None:
    happened = Happened(
        faults=[Fault(1, "kill-redis", "redis", 1), Fault(2, "poison", "poison", 0)],
        redis_back_ms=[("kill-redis", 2500), ("freeze-redis", 9500)],
        begun_ms=0,
        ended_ms=10_000,
    )
    found = figures(evidence(), happened)
    assert found == {
        "frames": 13,
        "runs": 4,
        "outcomes": {"dropped": 3, "failed": 1, "ok": 8, "stale": 1},
        "causes": {"dropped no-room": 3, "failed undecodable": 1, "stale too-old": 1},
        "faults": {"kill-redis": 1, "poison": 1},
        "longest_pause_s": {"gate": 6.0, "hall": 8.5},
        "resumed_s": [{"after": "kill-redis", "s": 0.5}, {"after": "freeze-redis", "s": None}],
        "memory_mib": {"redis": [11.0, 17.0], "worker": [90.0, 90.0]},
    }
    shown = lines(found)
    assert shown[0] == "frames           13 in 4 runs"
    assert "longest pause    gate 6.0 s, hall 8.5 s" in shown


@pytest.mark.parametrize("view", [figures, lambda made, _: broken_promises(made)])
def test_nothing_at_all_is_no_reason_to_fail(view: Callable[[Evidence, Happened], Any]) -> None:
    view(Evidence(lanes={}), Happened())
