"""`bench/compare.py` and `bench/redis_load.py`: that their pieces run, at a size that measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
TIMEOUT_S = 90


def run(*words: str | Path) -> str:
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=BENCH.parent, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_contenders_run_and_are_told(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    words = ["--only", "session,parts,kinestream,rtmlib,jobs", "--rounds", "1", "--seconds", "0.2"]
    table = run(BENCH / "compare.py", "--model", "timed", *words, "--load", "50", "--json", told)
    figures = json.loads(told.read_text())
    assert [*figures["throughput"]] == ["session", "parts", "kinestream", "rtmlib", "jobs"]
    assert {"redis", "worker-1", "camera", "subscriber"} == {
        *figures["throughput"]["kinestream"][0]["cpu_ms"]
    }
    assert [*figures["latency"]] == ["parts", "kinestream", "rtmlib", "jobs"]
    assert "× session" in table


def test_the_guides_server_runs() -> None:
    pytest.importorskip("fastapi", reason="needs the dependency group bench")
    pytest.importorskip("websockets", reason="needs the dependency group bench")
    pytest.importorskip("uvicorn", reason="needs the dependency group bench")
    words = ["--only", "guide", "--rounds", "1", "--seconds", "0.2"]
    assert "guide" in run(BENCH / "compare.py", "--model", "timed", *words)


def test_what_a_frame_costs_redis_is_told() -> None:
    assert "calls a frame" in run(BENCH / "redis_load.py", "2x3", "--rate", "20", "--seconds", "0.5")
