"""What the containers of compose.yaml run, run here: the same words, a server with the same options.

No container engine is needed, and none is tested: images, networks, volumes and limits are not tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from composefile import HEARTBEAT, compose_file, health_line, healthy
from kinestream.ledger import read_ledgers
from kinestream.redis import connect
from pipeline import Command
from servers import Server

WORKERS = 2
"""docker compose up --scale worker=2"""


@pytest.fixture
def server(nothing_left: object, own_server: Callable[..., Server]) -> Server:
    """What the service `redis` runs, but on a socket."""
    program, *options = compose_file()["redis"]["command"]
    assert program == "valkey-server"
    return own_server(options=options)


class Containers:
    """The services' processes, started as an engine would: entrypoint and command, and their variables."""

    def __init__(
        self, folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch, stack: contextlib.ExitStack
    ) -> None:
        self.services = compose_file()
        self.health: dict[str, str] = {}
        self._folder, self._server, self._stack, self._monkeypatch = folder, server, stack, monkeypatch

    def start(self, service: str, number: int = 1) -> Command:
        name = f"{service}-{number}"
        facts: dict[str, Any] = self.services[service]
        heartbeat = self._folder / f"{name}.heartbeat"
        self.health[name] = health_line(facts, heartbeat)
        program, *words = facts["entrypoint"] + facts["command"]
        assert program == "kinestream"
        assert facts["environment"]["KINESTREAM_REDIS_URL"] == "redis://redis:6379"  # that service
        with self._monkeypatch.context() as environment:
            for variable, value in facts["environment"].items():
                environment.setenv(variable, value)
            environment.setenv("KINESTREAM_REDIS_URL", self._server.url)
            environment.setenv("KINESTREAM_OFFLINE", "1")  # tests download nothing
            words = [str(heartbeat) if word == HEARTBEAT else word for word in words]
            return self._stack.enter_context(Command(self._folder / f"{name}.txt", *words))

    @property
    def unhealthy(self) -> list[str]:
        return [name for name, line in self.health.items() if not healthy(line)]


@pytest.fixture
def containers(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Containers]:
    with contextlib.ExitStack() as stack:
        yield Containers(tmp_path, server, monkeypatch, stack)


def records(watch: Command) -> list[dict[str, Any]]:
    """The lines of JSON that it has printed so far, each of them whole."""
    whole, _, _ = watch.said.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def found(watch: Command) -> int:
    """How many frames so far had people in them."""
    return sum(bool(record["people"]) for record in records(watch))


def cut_the_file(server: Server) -> None:
    """Leave half of what Redis has written since it began."""
    where = ["appendonlydir/*.incr.aof", "appendonly.aof"]  # since Redis 7, and before
    (file,) = [file for pattern in where for file in server.directory.glob(pattern)]
    os.truncate(file, file.stat().st_size // 2)


async def test_everything_comes_up_and_outlives_the_server(server: Server, containers: Containers) -> None:
    workers = [containers.start("worker", number) for number in range(1, WORKERS + 1)]
    ingest, watch = containers.start("ingest"), containers.start("watch")
    watch.wait_until(lambda: found(watch) >= 10, "poses")
    assert {record["camera"] for record in records(watch)} == {"camera-1"}
    assert containers.unhealthy == []

    # The server is killed, and comes back with its volume.
    server.kill()
    ingest.wait_to_say("Redis is away")
    assert containers.unhealthy == []
    server.start()
    before = found(watch)
    watch.wait_until(lambda: found(watch) >= before + 10, "poses after the server's return")
    assert containers.unhealthy == []

    ingest.signal(signal.SIGTERM)
    assert ingest.wait() == 0
    sums = [line for line in ingest.lines if " produced = " in line]
    assert sums, ingest.said
    assert all(" + 0 in flight (balanced" in line for line in sums), sums
    watch.wait_to_say('"status": "end"', times=len(sums))
    for process in (*workers, watch):
        process.signal(signal.SIGTERM)
    assert [process.wait() for process in workers] == [0] * WORKERS
    assert watch.wait() == 128 + signal.SIGTERM
    assert containers.unhealthy == [*containers.health]

    async with connect(server.url) as client:
        (ledger,) = await read_ledgers(client)
    assert ledger.balanced and ledger.state == "ended" and ledger.ok > 0
    by_run: dict[int, list[int]] = {}
    for record in records(watch):
        if record["status"] != "end":
            by_run.setdefault(record["run"], []).append(record["seq"])
    assert len(by_run) == len(sums)
    for seqs in by_run.values():
        assert seqs == sorted(set(seqs)), "in order, and none twice"
    committed = sum(int(re.search(r"committed (\d+) frames", worker.said)[1]) for worker in workers)  # type: ignore[index]
    assert committed >= ledger.ok


def test_a_power_cut_takes_the_last_frames_and_the_rest_goes_on(
    server: Server, containers: Containers
) -> None:
    """The file's end was not on the disk yet: Redis comes back poorer than it had acknowledged."""
    containers.start("worker")
    ingest, watch = containers.start("ingest"), containers.start("watch")
    watch.wait_until(lambda: found(watch) >= 20, "poses")
    server.kill()
    cut_the_file(server)
    server.start()
    before = found(watch)
    watch.wait_until(lambda: found(watch) >= before + 10, "poses after the loss")
    ingest.signal(signal.SIGTERM)
    assert ingest.wait() == 0
    sums = [line for line in ingest.lines if " produced = " in line]
    assert len(sums) == 2, ingest.said  # the run that lost frames, and the one after it
    assert all(" in flight (balanced" in line for line in sums), sums
    assert " + 0 lost + " not in sums[0] and " + 0 lost + " in sums[1]


async def test_the_server_has_the_limits_that_it_is_given(server: Server) -> None:
    async with connect(server.url) as client:
        facts = {
            name: (await client.config_get(name))[name]
            for name in ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save")
        }
    assert facts == {
        "maxmemory": str(2**30),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }


async def test_what_was_written_is_there_after_the_server_was_killed(server: Server) -> None:
    async with connect(server.url) as client:
        await client.set("kept", "yes")
    server.restart()
    async with connect(server.url) as client:
        assert await client.get("kept") == b"yes"


def test_the_servers_own_healthcheck(server: Server) -> None:
    cli = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if cli is None:
        pytest.skip("no redis-cli here")
    kind, line = compose_file()["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    assert line.startswith("valkey-cli ")
    line = line.replace("valkey-cli", f"{cli} -s {server.directory / 'redis.sock'}", 1)
    assert healthy(line)
    server.kill()
    assert not healthy(line)
    server.start()


def test_ingest_takes_another_source_as_an_argument(server: Server, containers: Containers) -> None:
    """docker compose run --rm ingest SOURCE --camera NAME, which replaces the service's command."""
    command = ["testcard://?seconds=0.2&size=320x180", "--camera", "other", "--lane", "every-frame"]
    containers.services["ingest"]["command"] = command
    ingest = containers.start("ingest")
    assert ingest.wait() == 0
    assert ingest.lines[-1].startswith("other: 6 produced = ")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("testcard://?fps=5", "since KINESTREAM_SOURCE is"),
        ("rtsp://camera", "finds nobody in pictures of people: "),
    ],
)
def test_the_model_follows_the_source(containers: Containers, source: str, said: str) -> None:
    """Without KINESTREAM_MODEL. No published model is here or can be downloaded, hence a fallback in both."""
    containers.services = compose_file(KINESTREAM_SOURCE=source)
    assert containers.services["ingest"]["environment"]["KINESTREAM_SOURCE"] == source
    worker = containers.start("worker")
    worker.wait_to_say("ms a batch")
    (chosen,) = [line for line in worker.lines if "model auto: testcard" in line]
    assert said in chosen


def test_the_command_for_a_gpu_ends_where_there_is_none(containers: Containers) -> None:
    if shutil.which("nvidia-smi") and not subprocess.run(["nvidia-smi"], capture_output=True).returncode:
        pytest.skip("there is a GPU here")
    containers.services["worker"]["command"] = compose_file("compose.gpu.yaml")["worker"]["command"]
    worker = containers.start("worker")
    assert worker.wait() == 1
    assert re.fullmatch(r"kinestream worker: cuda.*", worker.lines[-1])
