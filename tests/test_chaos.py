"""`kinestream chaos` as a user runs it: a seeded run with every kind of fault, a broken promise, Ctrl-C.

Not for: the schedule and the verdict, which are pure (see `test_chaos_schedule.py`, `test_chaos_verdict.py`).
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from kinestream import cli
from kinestream.chaos import performance
from kinestream.chaos.figures import Happened
from kinestream.chaos.schedule import KINDS
from kinestream.chaos.verdict import Evidence
from pipeline import TIMEOUT_S, Command, run

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

EVERY_KIND = ["--seed", "5038", "--seconds", "16", "--faults-per-minute", "60"]
"""A schedule in which each kind of fault comes once, and none lasts long."""


@pytest.fixture
def temporary(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, with a path short enough for sockets. No process may be left."""
    monkeypatch.setenv("TMPDIR", str(place.parent))
    return place.parent


def test_a_run_with_every_kind_of_fault_keeps_every_promise(temporary: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = run("chaos", *EVERY_KIND, "--json", "--keep", kept)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["broken"] == []
    assert set(found["faults"]) == set(KINDS)
    assert (
        found["outcomes"]["failed"] == found["causes"]["failed undecodable"] == 5 * found["faults"]["poison"]
    )
    assert found["outcomes"]["ok"] > 100
    assert set(found["longest_pause_s"]) == {"camera-1", "camera-2", "camera-3"}
    assert len(found["resumed_s"]) == 3 and all(one["s"] is not None for one in found["resumed_s"])
    assert json.loads((kept / "figures.json").read_text()) == found
    said = done.stderr.splitlines()
    assert len([line for line in said if line.endswith(")") and " s  " in line]) == sum(
        found["faults"].values()
    )
    assert said[-1] == "Every promise was kept."
    assert {"worker-1.2.log", "camera-1.1.log", "watch.2.log", "redis.4.log"} & {
        path.name for path in kept.iterdir()
    }
    assert [*temporary.glob("*")] == [], "nothing lies about"


def test_a_broken_promise_is_named_with_what_repeats_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(*_: object) -> tuple[Evidence, Happened]:
        return Evidence(lanes={}, incidents=["worker-1 ended by itself with exit code 1: oh"]), Happened()

    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(performance, "play", play)
    assert cli.run(["chaos", "--seed", "7", "--cameras", "2"]) == 1
    shown = capsys.readouterr()
    assert "BROKEN  worker-1 ended by itself with exit code 1: oh" in shown.out
    assert "Every promise" not in shown.out
    (logs,) = temporary.glob("*")
    assert shown.err == (
        f"kinestream chaos: broken promises: 1; logs: {logs}/logs; repeat: kinestream chaos --seed 7 "
        "--seconds 60 --cameras 2 --workers 2 --faults-per-minute 20\n"
    )


def test_ctrl_c_ends_everybody(temporary: Path, tmp_path: Path) -> None:
    with Command(tmp_path / "said.txt", "chaos", "--seconds", "600", "--seed", "1") as command:
        command.wait_to_say("faults in 600 s")
        command.signal(signal.SIGINT)
        assert command.wait() == 130, command.said
    assert "Traceback" not in command.said
    assert [*temporary.glob("*")] == []


def test_logs_of_two_runs_are_not_mixed_up(tmp_path: Path) -> None:
    (tmp_path / "worker-1.1.log").touch()
    done = run("chaos", "--keep", tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"kinestream chaos: {tmp_path} is not empty, and logs of two runs would be mixed up there\n"
    )
