"""Ingest, Redis and workers at addresses of their own, far apart, one of them cut off for ten seconds.

The hosts are network namespaces, which take root; the wire between them is `bench/wire.py`. Not for: figures
(see `bench/two_hosts.py`).
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import servers

sys.path.append(str(Path(__file__).parent.parent / "bench"))

from hosts import network, why_not
from stage import Stage

SLOW_MS = 200.0
CUT_S = 10.0


@pytest.fixture
def stage(tmp_path: Path, nothing_left: object) -> Iterator[Any]:
    if missing := why_not():
        pytest.skip(missing)
    if not servers.BINARIES or shutil.which("redis-server") is None:
        pytest.skip("no redis-server on PATH")
    before = signal.getsignal(signal.SIGTERM)
    try:
        with network() as hosts, Stage(hosts, tmp_path) as made:
            yield made
    except (OSError, PermissionError) as error:
        if "ip netns" not in str(error):
            raise
        pytest.skip(f"network namespaces cannot be made here: {error}")
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.timeout(180)
def test_a_slow_link_that_is_cut_for_ten_seconds_loses_nothing(stage: Any) -> None:
    stage.network.set(SLOW_MS, 0)
    stage.apart = True
    stage.workers([["--model", "testcard", "--threads", "1"]])
    # Every frame waits for its reply, 200 ms away: no more than five a second.
    told = stage.outage(seconds=20, down_at_s=2, down_s=CUT_S, host="worker", fps=3)
    live, complete = told["live"], told["every-frame"]
    for lane in (live, complete):
        assert (lane["balanced"], lane["told once"]) == (1.0, 1.0)
        assert (lane["captured"], lane["failed"], lane["lost"]) == (60, 0, 0)
    assert (complete["produced"], complete["ok"]) == (60, 60)
    assert live["produced"] == live["ok"] + live["dropped"] + live["stale"] == 60
    assert live["dropped:no-room"] + live["stale"] >= CUT_S * 3 - 9, "for ten seconds nobody took any"
    assert live["ok"] > 0 and live["back after s"] > 0, "it was live, and is again"
