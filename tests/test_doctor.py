"""`kinestream doctor`: what it finds on real servers in good and in bad states, and what it tells scripts.

Not for: the engine that a check opens (see `test_engine.py`).
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from frames import offer
from kinestream import doctor
from kinestream.checks import server as server_checks
from kinestream.checks.server import check_server
from kinestream.checks.streams import check_streams
from kinestream.cli import run
from kinestream.doctor import Asked, Finding, examine
from kinestream.groupconsumer import GroupConsumer
from kinestream.redis import connect
from kinestream.run import Run
from kinestream.workerreports import WorkerReport
from kinestream_workers import checks
from servers import Server
from waiting import wait_until


def levels(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.level for finding in findings}


def test_a_server_as_it_should_be(own_server: Callable[..., Server]) -> None:
    server = own_server(durable=True, maxmemory="256mb")
    found = list(check_server(Asked(redis_url=server.url)))
    assert levels(found) == dict.fromkeys(
        ["redis", "eviction", "persistence", "memory", "round trip", "clock"], "ok"
    )
    assert all(not finding.mend for finding in found)
    assert "Redis 7" in found[0].says or "Redis 6.2" in found[0].says or "Valkey" in found[0].says


@pytest.mark.parametrize(("ahead_s", "level"), [(0.005, "ok"), (0.04, "warning"), (-0.04, "warning")])
def test_a_clock_that_differs_from_redis_by_more_than_20_ms_is_a_warning(
    own_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, ahead_s: float, level: str
) -> None:
    monkeypatch.setattr(server_checks, "time", HostClock(ahead_s))
    (clock,) = [one for one in check_server(Asked(redis_url=own_server().url)) if one.subject == "clock"]
    assert (clock.level, "run NTP or chrony" in clock.mend) == (level, level == "warning")
    difference = re.match(r"Redis's is ([+-]\d+\.\d) ms from this host's, ± \d+\.\d$", clock.says)
    assert difference, clock.says
    assert float(difference[1]) == pytest.approx(-1000 * ahead_s, abs=12), "the test's own round trip aside"


class HostClock:
    """A host whose clock is ahead of Redis's by so much."""

    def __init__(self, ahead_s: float) -> None:
        self._ahead_s = ahead_s

    def time(self) -> float:
        return time.time() + self._ahead_s

    def monotonic(self) -> float:
        return time.monotonic()


def test_no_server_is_one_error_with_its_remedy(tmp_path: Path) -> None:
    for ask in (check_server, check_streams):
        found = list(ask(Asked(redis_url=f"unix://{tmp_path}/nobody.sock")))
        assert [finding.level for finding in found] == (["error"] if ask is check_server else [])
    (finding,) = check_server(Asked(redis_url=f"unix://{tmp_path}/nobody.sock"))
    assert "no Redis answers at unix://" in finding.says


def test_a_server_that_evicts_is_refused_as_by_everybody(own_server: Callable[..., Server]) -> None:
    server = own_server(maxmemory="64mb", options=["--maxmemory-policy", "allkeys-lru"])
    (finding,) = check_server(Asked(redis_url=server.url))
    assert (finding.level, "noeviction" in finding.says) == ("error", True)


def test_what_is_not_kept_and_memory_without_a_limit_are_warnings(own_server: Callable[..., Server]) -> None:
    found = list(check_server(Asked(redis_url=own_server().url)))
    assert levels(found)["persistence"] == levels(found)["memory"] == "warning"
    assert "set maxmemory" in " ".join(finding.mend for finding in found)


async def test_a_server_that_is_nearly_full(own_server: Callable[..., Server]) -> None:
    server = own_server(maxmemory="20mb")
    async with connect(server.url) as redis:
        while (await redis.info("memory"))["used_memory"] < 0.85 * 20 * 2**20:
            await redis.rpush("ballast", b"x" * 2**17)
    (memory,) = [found for found in check_server(Asked(redis_url=server.url)) if found.subject == "memory"]
    assert memory.level == "warning" and "of 20 MiB, its limit" in memory.says


async def test_cameras_from_first_frame_to_last(own_server: Callable[..., Server]) -> None:
    server = own_server()
    asked = Asked(redis_url=server.url)

    def camera() -> Finding:
        (finding,) = [found for found in check_streams(asked) if found.subject == "camera left"]
        return finding

    async with connect(server.url) as redis:
        assert [found.says for found in check_streams(asked)] == ["0 at work", "none is active", "none"]
        begun = await Run.begin(redis, "left", lane="every-frame")
        assert camera() == Finding("ok", "camera left", "0 frames wait, 0 are held")
        await offer(begun, 3)
        assert camera().says == "3 frames wait, 0 are held"
        worker = GroupConsumer(redis, "worker-a")
        held = await worker.take(["left"], 2)
        assert len(held) == 2
        assert camera() == Finding("ok", "camera left", "1 frames wait, 2 are held")
        assert levels(list(check_streams(asked)))["workers"] == "warning", "it has not reported"
        await worker.report(
            WorkerReport(name="worker-a", model="m", engine="e", committed=0, rate=0, batch=0, held=2)
        )
        assert "1 at work" in [found.says for found in check_streams(asked)]


async def test_a_worker_that_holds_frames_and_reads_no_more_is_named(
    own_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = own_server()
    monkeypatch.setattr("kinestream.checks.streams._OVERDUE_MS", 100)
    async with connect(server.url) as redis:
        begun = await Run.begin(redis, "left", lane="every-frame")
        await offer(begun, 1)
        await GroupConsumer(redis, "worker-a").take(["left"], 1)

        def stuck() -> list[Finding]:
            found = check_streams(Asked(redis_url=server.url))
            return [finding for finding in found if "some by worker-a, which does not renew" in finding.says]

        (finding,) = await wait_until(stuck, "worker-a to have read nothing for a while")
    assert finding.level == "warning" and finding.says.startswith("0 frames wait, 1 are held")


async def test_dead_letters_are_counted(own_server: Callable[..., Server]) -> None:
    server = own_server()
    async with connect(server.url) as redis:
        await redis.xadd("ks:{0}:dead", {"camera": "left"})
    assert levels(list(check_streams(Asked(redis_url=server.url))))["dead letters"] == "warning"


def test_packages_that_write_the_same_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.level for finding in checks.check_packages(Asked())} == {"ok"}

    class Installed:
        def __init__(self, name: str | None, version: str) -> None:
            self.name, self.version = name, version

    both = [Installed("onnxruntime", "1.31"), Installed("onnxruntime-gpu", "1.30")]
    mixed = [Installed("opencv-python", "5.0"), Installed("opencv-contrib-python", "4.14")]
    left_behind = Installed(None, "")  # what pip leaves of a package that it could not remove
    monkeypatch.setattr(checks, "distributions", lambda: [*both, *mixed, left_behind])
    found = list(checks.check_packages(Asked()))
    assert levels(found) == {"onnxruntime": "error", "opencv": "error"}
    assert found[0].says == "onnxruntime 1.31, onnxruntime-gpu 1.30"


def test_the_model_is_opened_as_a_worker_would(tmp_path: Path) -> None:
    (found,) = checks.check_model(Asked(model="testcard", device="cpu"))
    assert found.level == "ok"
    assert "batch dynamic" in found.says and "CPUExecutionProvider" in found.says and "ms" in found.says
    (found,) = checks.check_model(Asked(model=str(tmp_path / "none.onnx")))
    assert (found.level, "none.onnx" in found.says) == ("error", True)


@pytest.mark.parametrize("model, missed", [("auto", "rtmo-s"), ("rtmo-m", "rtmo-m")])
def test_nothing_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, missed: str
) -> None:
    monkeypatch.setenv("KINESTREAM_MODELS", str(tmp_path))
    monkeypatch.delenv("KINESTREAM_OFFLINE", raising=False)
    monkeypatch.setattr("kinestream_workers.modelcache.fetch", None)  # nobody may call it
    missing, found = checks.check_model(Asked(model=model, device="cpu"))
    assert (missing.level, missing.mend) == ("warning", f"kinestream models pull {missed}")
    assert found.level == "ok" and "testcard" in found.says


def test_a_device_that_does_not_come_up_is_a_warning() -> None:
    found = list(checks.check_model(Asked(model="testcard", device="mps")))
    if len(found) == 1:
        pytest.skip("this machine has Apple's accelerator")
    assert [finding.level for finding in found] == ["warning", "ok"]
    assert "using the CPU" in found[0].says
    handlers = logging.getLogger("kinestream_workers").handlers
    assert not any(isinstance(handler, checks._Complaints) for handler in handlers)


def test_a_check_that_fails_ends_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    here = f"{__name__}:"
    entries = [
        EntryPoint("2-good", here + "_good", doctor.GROUP),
        EntryPoint("1-bad", here + "_bad", doctor.GROUP),
    ]
    monkeypatch.setattr(doctor, "entry_points", lambda group: entries)
    assert list(examine(Asked())) == [
        Finding("error", "1-bad", "this check failed: ZeroDivisionError: division by zero"),
        Finding("ok", "good", "yes"),
    ]


def _good(asked: Asked) -> list[Finding]:
    return [Finding("ok", "good", "yes")]


def _bad(asked: Asked) -> list[Finding]:
    return [Finding("ok", "bad", str(1 / 0))]


def test_what_people_and_scripts_are_told(
    own_server: Callable[..., Server], capsys: pytest.CaptureFixture[str]
) -> None:
    server = own_server(durable=True, maxmemory="256mb")
    arguments = ["doctor", "--redis", server.url, "--model", "testcard", "--device", "cpu"]
    assert run(arguments) == 0
    said = capsys.readouterr().out
    assert said.startswith("ok       redis: ") and "\nok       model: rtmo testcard-dynamic" in said
    assert run([*arguments, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"redis", "model", "onnxruntime", "disk", "open files"} <= {line["subject"] for line in lines}
    assert all(line.keys() == {"level", "subject", "says", "mend"} for line in lines)
    server.kill()
    assert run(arguments) == 1
    assert capsys.readouterr().out.startswith("ERROR    redis: no Redis answers at ")
