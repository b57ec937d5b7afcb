"""Liveness, readiness, and the port: of real processes under trouble, and of a loop that is stuck.

Not for: what metrics say (`test_metrics.py`).
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import kinestream.metrics.health
import kinestream.metrics.telemetry
from kinestream.errors import UsageError
from kinestream.metrics.health import STUCK_S, Health
from kinestream.metrics.telemetry import PORT_VARIABLE, Telemetry, served
from kinestream.processes import start_child
from pipeline import run
from scraping import Scrape, Served, get
from servers import Server, free_port
from waiting import wait_until, wait_until_sync


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody listens on, and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield str(listener.getsockname()[1])


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_process_lives_while_its_loop_turns() -> None:
    clock = Clock()
    health = Health(clock)
    clock.now_s += 10 * STUCK_S
    assert health.stuck == ""  # a model that is downloaded before the loop begins is no reason to kill it
    health.turn()
    clock.now_s += STUCK_S
    assert health.stuck == ""
    clock.now_s += 1
    assert health.stuck == health.unready == f"the event loop has not turned for {STUCK_S + 1:.0f} s"
    health.turn()
    assert health.stuck == ""


def test_a_process_is_ready_when_nothing_is_missing() -> None:
    health, missing = Health(Clock()), ["a camera"]
    health.add_check(lambda: "")
    health.add_check(lambda: missing[0])
    assert health.unready == "starting"
    health.doing = ""
    assert health.unready == "a camera"
    missing[0] = ""
    assert health.unready == ""


async def test_a_loop_that_is_stuck_is_told_by_a_thread_that_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kinestream.metrics.health, "STUCK_S", 0.3)
    monkeypatch.setattr(kinestream.metrics.telemetry, "_TURN_S", 0.01)
    port = free_port()
    page = f"http://127.0.0.1:{port}/healthz"
    heard: list[tuple[int, str]] = []

    def listen() -> None:
        while not heard or heard[-1][0] != 503:
            heard.append(get(page))

    async def work() -> None:
        assert (await asyncio.to_thread(get, page)) == (200, "alive\n")
        listener = threading.Thread(target=listen)
        listener.start()
        deadline = time.monotonic() + 20
        while listener.is_alive() and time.monotonic() < deadline:
            listener.join(0.05)  # the loop is blocked, on purpose
        assert heard[-1] == (503, "the event loop has not turned for 0 s\n")
        await wait_until(lambda: telemetry.health.stuck == "", "the loop turns again")
        assert (await asyncio.to_thread(get, page)) == (200, "alive\n")

    with served(port, "127.0.0.1") as telemetry:
        await telemetry.turning(work())
    with pytest.raises(OSError, match="refused"):
        get(page)


def test_other_pages_and_methods() -> None:
    port = free_port()
    with served(port, "127.0.0.1"):
        url = f"http://127.0.0.1:{port}"
        assert get(url) == get(f"{url}/metric") == (404, "there are /metrics, /healthz, /readyz\n")
        assert get(f"{url}/readyz?verbose") == (503, "starting\n")
        for head, first in (("HEAD /healthz", b"HTTP/1.0 200"), ("POST /metrics", b"HTTP/1.0 501")):
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(f"{head} HTTP/1.0\r\n\r\n".encode())
                reply = b"".join(iter(lambda: connection.recv(4096), b""))
            assert reply.startswith(first)
            assert reply.endswith(b"\r\n\r\n") == head.startswith("HEAD")


def test_a_collector_with_a_bug_is_an_error_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def collect(self) -> list[object]:
            raise KeyError("a bug")

    port = free_port()
    with served(port, "127.0.0.1") as telemetry:
        telemetry.register(Broken)  # type: ignore[arg-type]
        assert get(f"http://127.0.0.1:{port}/metrics") == (500, "a bug, see the log\n")
        assert get(f"http://127.0.0.1:{port}/healthz") == (200, "alive\n")
    assert "KeyError: 'a bug'" in caplog.text


async def test_without_a_port_nothing_is_made() -> None:
    def make() -> None:
        raise AssertionError("nobody can ask for it")

    with served(None, "nowhere.invalid") as telemetry:
        telemetry.register(make)  # type: ignore[arg-type]
        async with telemetry.watching_redis("redis://nowhere.invalid"):
            assert await telemetry.turning(asyncio.sleep(0, "done")) == "done"
    assert Telemetry().health.unready == "starting"


def test_openmetrics_is_spoken_too() -> None:
    """Prometheus asks for it."""
    port = free_port()
    with served(port, "127.0.0.1"):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.headers["Content-Type"].startswith("application/openmetrics-text")
            families = [*text_string_to_metric_families(reply.read().decode())]
    assert "kinestream_build" in "".join(family.name for family in families)


@pytest.mark.parametrize("words", [["worker", "--model", "testcard"], ["ingest", "testcard://"], ["metrics"]])
def test_a_port_that_is_taken_is_one_line(words: list[str], redis_url: str, taken: str) -> None:
    done = run(*words, "--redis", redis_url, "--metrics-port", taken)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"kinestream {words[0]}: cannot serve metrics on 127.0.0.1:{taken}: Address already in use"
    ]


def test_a_host_that_is_none() -> None:
    for host, shown in (("nowhere.invalid", "nowhere.invalid:1234"), ("1:2:3", "[1:2:3]:1234")):
        with pytest.raises(UsageError, match="cannot serve metrics on " + shown.replace("[", r"\[")):
            served(1234, host).__enter__()


def test_the_variable_stands_for_the_option_and_stays_with_its_process(
    redis_url: str, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PORT_VARIABLE, taken)
    refused = run("metrics", "--redis", redis_url)
    assert refused.returncode == 2 and f"127.0.0.1:{taken}: Address already in use" in refused.stderr
    with start_child(["metrics", "--redis", redis_url], name="child", log=tmp_path / "log") as child:
        wait_until_sync((tmp_path / "log").read_text, "the child has tried")
        child.stop()
    assert ":9464" in (tmp_path / "log").read_text()  # taken or not, it is the usual one


def test_a_worker_whose_redis_is_frozen_lives_and_is_not_ready(
    own_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = own_server()
    with Served(tmp_path, "worker", "--model", "testcard", "--redis", server.url) as worker:
        assert worker.page("healthz") == (200, "alive")  # from the beginning
        worker.wait_until_ready()
        before = worker.scrape()
        assert before.says("kinestream_redis_up", 1) and before.says("kinestream_redis_outages_total", 0)

        server.freeze()
        worker.command.wait_until(lambda: worker.page("readyz")[0] == 503, "it is not ready")
        assert worker.page("readyz")[1].startswith("Redis has not answered for ")
        assert worker.page("healthz") == (200, "alive")
        during = worker.scrape()  # at once, too
        assert during.says("kinestream_redis_up", 0) and during.says("kinestream_redis_outages_total", 1)
        assert during.sum("kinestream_redis_away_seconds_total") > 1

        server.thaw()
        worker.wait_until_ready()
        after = worker.scrape()
        assert after.says("kinestream_redis_up", 1) and after.says("kinestream_redis_outages_total", 1)
        told = [s.sum("kinestream_redis_away_seconds_total") for s in (before, during, after)]
        assert told == sorted(told)

        url = worker.url
        worker.command.signal(signal.SIGTERM)
        assert worker.command.wait() == 0
        with pytest.raises(OSError, match="refused"):
            get(f"{url}/healthz")


def test_a_camera_that_does_not_answer_yet(redis_url: str, taken: str, tmp_path: Path) -> None:
    with Served(tmp_path, "ingest", f"http://127.0.0.1:{taken}/video", "--redis", redis_url) as ingest:
        ingest.command.wait_until(
            lambda: ingest.page("readyz") == (503, "opening the source"), "it opens its source"
        )
        assert ingest.page("healthz") == (200, "alive")
        assert not any(name.startswith("kinestream_ingest") for name in Scrape.of(ingest.url).names)
