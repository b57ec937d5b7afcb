"""`bench/compare.py` and `bench/redis_load.py`: that their pieces run, at a size that measures nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    words += ["--load", "50", "--json", str(told), "--plot", str(tmp_path / "plot.png")]
    table = run(BENCH / "compare.py", "--model", "timed", *words)
    figures = json.loads(told.read_text())
    assert [*figures["throughput"]] == ["session", "parts", "kinestream", "rtmlib", "jobs"]
    assert {"redis", "worker-1", "camera", "subscriber"} == {
        *figures["throughput"]["kinestream"][0]["cpu_ms"]
    }
    assert [*figures["latency"]] == ["parts", "kinestream", "rtmlib", "jobs"]
    assert "× session" in table
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_guides_server_runs() -> None:
    words = ["--only", "guide", "--rounds", "1", "--seconds", "0.2"]
    assert "guide" in run(BENCH / "compare.py", "--model", "timed", *words)


def test_what_a_frame_costs_redis_is_told() -> None:
    assert "calls a frame" in run(BENCH / "redis_load.py", "2x3", "--rate", "20", "--seconds", "0.5")
