"""Keeping parts alive: when they are started again, when not, and how they are ended. Children are made up.

Not for: real processes (see `test_up.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kinestream.errors import UsageError
from kinestream.up.keeper import FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S, Keeper, Pauses
from kinestream.up.lines import told
from kinestream.up.parts import Part


class FakeChild:
    """A child that ends as a test says; one that is `stubborn` does not end when asked to."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.exit_code: int | None = None
        self.asked: list[str] = []
        self._stubborn = stubborn

    def terminate(self) -> None:
        self.asked.append("terminate")
        if not self._stubborn:
            self.exit_code = 0

    def kill(self) -> None:
        self.asked.append("kill")
        self.exit_code = -9

    def wait(self) -> int:
        assert self.exit_code is not None, "a keeper waits only for what has ended"
        return self.exit_code


class Stage:
    """A keeper, its clock, what it has started and said."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.now_s = 0.0
        self.said: list[str] = []
        self.started: list[FakeChild] = []
        self._stubborn = stubborn
        self.keeper = Keeper(self._start, self.said.append, clock=lambda: self.now_s)

    def _start(self, words: Sequence[str], name: str) -> Any:
        self.started.append(FakeChild(stubborn=self._stubborn))
        return self.started[-1]

    def add(self, **how: Any) -> None:
        self.keeper.add([Part("worker-1", "workers", lambda: ["worker"], **how)])

    def end(self, code: int) -> None:
        self.started[-1].exit_code = code
        self.keeper.look()

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.keeper.look()


def test_what_ends_is_started_again_for_ever_at_growing_intervals() -> None:
    stage = Stage()
    stage.add()
    for count in range(1, 60):
        stage.end(1)
        assert len(stage.started) == count, "not at once"
        stage.pass_s(LONGEST_PAUSE_S)
        assert len(stage.started) == count + 1
    assert stage.said[0].startswith("worker-1 ended with exit code 1, and is started again in 0.")
    pauses = [float(line.split()[-2]) for line in stage.said]
    assert max(pauses[:2]) < 2 < LONGEST_PAUSE_S / 2 - 0.1 <= min(pauses[-20:])
    assert max(pauses) <= LONGEST_PAUSE_S


@pytest.mark.parametrize("code", [0, 1, -9])
def test_however_it_ended(code: int) -> None:
    stage = Stage()
    stage.add()
    stage.end(code)
    stage.pass_s(FIRST_PAUSE_S)
    assert len(stage.started) == 2


def test_the_pauses_begin_anew_after_a_good_time() -> None:
    pauses = Pauses()
    grown = [pauses.next_s(0) for _ in range(10)]
    assert grown[-1] >= LONGEST_PAUSE_S / 2
    assert pauses.next_s(STEADY_S) <= FIRST_PAUSE_S
    assert pauses.next_s(STEADY_S - 1) <= 2 * FIRST_PAUSE_S


def test_what_refuses_its_options_at_its_first_start_is_an_error() -> None:
    stage = Stage()
    stage.add()
    with pytest.raises(UsageError, match=r"worker-1 could not be started \(see its line above\)"):
        stage.end(2)


def test_but_not_later_since_it_has_once_run() -> None:
    stage = Stage()
    stage.add()
    stage.end(1)
    stage.pass_s(FIRST_PAUSE_S)
    stage.end(2)
    stage.pass_s(LONGEST_PAUSE_S)
    assert len(stage.started) == 3


def test_a_part_that_ends_is_done_when_it_ends_well() -> None:
    stage = Stage()
    stage.add(ends=True)
    stage.end(1)
    stage.pass_s(FIRST_PAUSE_S)
    stage.end(0)
    stage.pass_s(LONGEST_PAUSE_S)
    assert len(stage.started) == 2
    assert stage.said[-1] == "worker-1 is done"


async def test_parts_of_a_kind_are_asked_to_end_and_not_started_again() -> None:
    stage = Stage()
    stage.add()
    stage.keeper.add([Part("cameras", "cameras", lambda: ["producer"])])
    await stage.keeper.end("workers")
    stage.pass_s(LONGEST_PAUSE_S)
    worker, cameras = stage.started
    assert (worker.asked, cameras.asked) == (["terminate"], [])
    stage.keeper.kill()
    assert cameras.asked == ["kill"]


async def test_what_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinestream.up.keeper.GRACE_S", 0.0)
    stage = Stage(stubborn=True)
    stage.add()
    await stage.keeper.end("workers")
    assert stage.started[0].asked == ["terminate", "kill"]


async def test_what_waits_to_be_started_again_is_let_go_of() -> None:
    stage = Stage()
    stage.add()
    stage.end(1)
    await stage.keeper.end("workers")
    stage.pass_s(LONGEST_PAUSE_S)
    assert len(stage.started) == 1


@pytest.mark.parametrize(
    ("name", "line", "as_json", "shown"),
    [
        ("jobs", "a line", False, "jobs     | a line"),
        ("", "a line", False, "a line"),
        ("jobs", '{"level": "info"}', True, '{"part": "jobs", "level": "info"}'),
        ("jobs", "[1]", True, '{"part": "jobs", "message": "[1]"}'),
        ("up", "a line", True, '{"part": "up", "message": "a line"}'),
    ],
)
def test_lines_have_the_name_of_their_part(name: str, line: str, as_json: bool, shown: str) -> None:
    assert told(name, line, width=8, as_json=as_json) == shown
