"""Shared fixtures: real servers, clients, key names of one's own, and the watch on processes left behind.

Most tests take `redis` (a client) and `keys`. What differs between server versions takes `every_redis`. What
kills, freezes, restarts or fills a server takes `own_server`. All of it works with `pytest -n`: each worker
process has servers of its own. Not for: fixtures that only one file needs.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis.asyncio import Redis

import servers
from engines import ScriptedEngine
from kinestream.keys import Keys
from kinestream.redis import connect
from servers import Server
from waiting import wait_until_sync
from working import begin_run, wait_for_records, working

# No test may download a model, or meet one that the person who runs it has.
os.environ["KINESTREAM_OFFLINE"] = "1"
os.environ["no_proxy"] = "127.0.0.1"  # servers of tests are asked directly, wherever tests run
os.environ["KINESTREAM_MODELS"] = str(Path(tempfile.gettempdir(), f"ks-no-models-{os.getpid()}"))

# MediaPipe brings absl, whose log handler closes its stream whenever logging is configured anew, unless it is
# the process's own; pytest's, which it would have taken, is needed until the end.
with contextlib.suppress(ModuleNotFoundError):
    from absl.logging import get_absl_handler

    get_absl_handler().python_handler.stream = sys.__stderr__

_NO_SERVER = "no redis-server here: pip install 'kinestream[embedded]', or install redis-server"
_VERSIONS = ["6.2", *[version for version in servers.BINARIES if version != "6.2"]]
_VERSIONS += ["newer"] if len(_VERSIONS) == 1 else []


@pytest.hookimpl(optionalhook=True)  # where xdist is not taken along
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for real servers and processes, and leave them idle.

    Beyond 8 at a time (`make test` sees to that) they only disturb each other.
    """
    return 1 + (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def running_servers() -> Iterator[Callable[[str], Server]]:
    """Return one server a version, started when the first test asks for it, kept until the session ends."""
    running: dict[str, Server] = {}

    def server(version: str) -> Server:
        if version not in servers.BINARIES:
            pytest.skip(f"needs a redis-server {version}, at hand: {', '.join(servers.BINARIES) or 'none'}")
        if version not in running:
            running[version] = Server(servers.BINARIES[version]).start()
            servers.PIDS.add(running[version].pid)
        return running[version]

    yield server
    for started in running.values():
        servers.PIDS.discard(started.pid)
        started.remove()


@pytest.fixture
def redis_url(running_servers: Callable[[str], Server]) -> str:
    """URL of a server of the newest version at hand; other tests use it too, hence `keys`."""
    if not servers.BINARIES:
        pytest.skip(_NO_SERVER)
    return running_servers([*servers.BINARIES][-1]).url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of that server."""
    async with connect(redis_url) as client:
        yield client


@pytest.fixture(params=_VERSIONS)
def every_redis_url(request: pytest.FixtureRequest, running_servers: Callable[[str], Server]) -> str:
    """URLs of servers of all versions at hand, one a test run."""
    return running_servers(request.param).url


@pytest.fixture
async def every_redis(every_redis_url: str) -> AsyncIterator[Redis]:
    """Clients of servers of all versions at hand, one a test run."""
    async with connect(every_redis_url) as client:
        yield client


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Take away the log handler of a command that the test ran in this process: its stream is closed by then,
    and what others log later would be said to be an error.
    """
    root = logging.getLogger()
    before = [*root.handlers]
    yield
    for handler in {*root.handlers} - {*before}:
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.fixture
def keys() -> Keys:
    """Key names that no other test uses."""
    return Keys(prefix=f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def own_server() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server for this test alone, to kill, freeze, restart or fill.

    Arguments: `version` ("6.2"; the newest at hand unless given), `maxmemory` ("20mb"), `durable` (a restart
    keeps the data) and `options` (more words for redis-server's command line).
    """
    started: list[Server] = []

    def start(
        version: str | None = None,
        maxmemory: str = "0",
        durable: bool = False,
        options: list[str] | None = None,
    ) -> Server:
        if not servers.BINARIES:
            pytest.skip(_NO_SERVER)
        version = version or [*servers.BINARIES][-1]
        if version not in servers.BINARIES:
            pytest.skip(f"needs a redis-server {version}, at hand: {', '.join(servers.BINARIES)}")
        server = Server(servers.BINARIES[version], maxmemory=maxmemory, durable=durable, options=options)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.remove()


_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


@pytest.fixture
def nothing_left() -> Iterator[Callable[[], list[int]]]:
    """Fail if a process started in this test outlives it; return a function that lists their ids.

    Orphans are found too: Linux is asked to make them children of the test process. Ask for this fixture
    before those that start something.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    before = {*_descendants(), *servers.PIDS}

    def alive() -> list[int]:
        return sorted(_descendants() - before - servers.PIDS)

    yield alive
    try:
        wait_until_sync(lambda: not alive(), "every process started in this test to end", timeout=10)
    finally:
        for pid in alive():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, nothing_left: Callable[[], list[int]]) -> Iterator[Path]:
    """A runtime directory for this test alone, not made yet, with a path short enough for sockets.

    So no test meets the server of the person who runs it. No process may be left at the end.
    """
    if not servers.BINARIES:
        pytest.skip(_NO_SERVER)
    parent = Path(tempfile.mkdtemp(prefix="ks-place-", dir="/tmp"))
    monkeypatch.setenv("KINESTREAM_RUNTIME_DIR", str(parent / "run"))
    monkeypatch.delenv("KINESTREAM_REDIS_URL", raising=False)
    yield parent / "run"
    shutil.rmtree(parent)


def _descendants() -> set[int]:
    """Ids of all living descendants of this process; a zombie has ended and only waits to be asked how."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


@pytest.fixture
def engine() -> ScriptedEngine:
    """An engine that does what the test says, for a worker in the test's own process."""
    return ScriptedEngine()


@pytest.fixture
def begin(redis: Redis, keys: Keys) -> Callable[..., Any]:
    """Return a function that begins a run of a camera."""
    return partial(begin_run, redis, keys)


@pytest.fixture
def work(redis: Redis, keys: Keys, engine: ScriptedEngine) -> Callable[..., Any]:
    """Return a function that runs a worker on `engine` for as long as a block; takes its settings."""
    return partial(working, redis, keys, engine)


@pytest.fixture
def published(redis: Redis, keys: Keys) -> Callable[..., Any]:
    """Return a function that waits for so many records."""
    return partial(wait_for_records, redis, keys)
