"""`kinestream.redis.through_outages`: calls wait while a real server is away, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import redis.exceptions
from redis.asyncio import Redis

import kinestream.redis as patience
from kinestream.errors import RedisUnavailable
from kinestream.redis import connect, is_away, through_outages
from servers import BINARIES, Server, free_port
from waiting import wait_until

SECRET = "s3cr3t"


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "kinestream.redis"]


async def test_a_call_waits_until_the_server_is_back(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server()
    tries = 0

    async def call() -> bool:
        nonlocal tries
        tries += 1
        pong: bool = await client.ping()
        return pong

    async with connect(server.url) as client:
        await client.ping()
        server.kill()
        waiting = asyncio.create_task(through_outages(call, what="counting"))
        await wait_until(lambda: tries > 2, "several tries")
        server.start()
        assert await waiting is True
    away, back = messages(caplog)
    assert away.startswith("Redis is away while counting, waiting for it: ")
    assert back.startswith("Redis is back after ") and back.endswith("counting goes on")


async def test_a_server_that_hangs_is_an_outage(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.1)
    server = own_server()
    async with connect(server.url, blocking_ms=0) as client:
        await client.set("x", 1)
        server.freeze()
        waiting = asyncio.create_task(through_outages(lambda: client.get("x"), what="reading"))
        await wait_until(lambda: messages(caplog), "the outage to be noticed")
        server.thaw()
        assert await waiting == b"1"


async def test_a_timeout_is_not_tried_again_inside_a_command(
    own_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.1)
    server = own_server()
    async with connect(server.url, blocking_ms=0) as client:
        await client.ping()
        server.freeze()
        with pytest.raises(redis.exceptions.TimeoutError):
            await client.get("x")
        server.thaw()
    async with connect(server.url) as client:
        # Whatever reached the frozen server before this connection did is answered first.
        assert (await client.info("commandstats"))["cmdstat_get"]["calls"] == 1


async def test_stop_ends_the_waiting(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server()
    stop = asyncio.Event()
    async with connect(server.url) as client:
        server.kill()
        waiting = asyncio.create_task(through_outages(client.ping, what="testing", stop=stop))
        await wait_until(lambda: messages(caplog), "the outage to be noticed")
        assert not waiting.done()
        stop.set()
        with pytest.raises(RedisUnavailable, match="stopped while Redis was away, testing: "):
            await waiting


async def test_a_call_is_made_even_if_stop_is_set(redis: Redis) -> None:
    stop = asyncio.Event()
    stop.set()
    assert await through_outages(redis.ping, what="draining", stop=stop) is True


async def test_other_errors_propagate(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(maxmemory="2mb")
    async with connect(server.url) as client:
        with pytest.raises(redis.exceptions.ResponseError, match="unknown command"):
            await through_outages(lambda: client.execute_command("NONSENSE"), what="testing")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            for number in range(200):
                await through_outages(lambda n=number: client.set(f"x{n}", b"x" * 100_000), what="filling")
        with pytest.raises(KeyError):
            await through_outages(lambda: {}["missing"], what="testing")
    assert not messages(caplog)


@pytest.mark.parametrize("version", [*BINARIES])
async def test_a_replica_is_an_outage_inside_a_script_too(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture, version: str
) -> None:
    server = own_server(version)
    async with connect(server.url) as client:
        script = client.register_script("return redis.call('SET', KEYS[1], ARGV[1])")
        await client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
        for call in (lambda: client.set("x", 1), lambda: script(keys=["x"], args=[1])):
            caplog.clear()
            waiting = asyncio.create_task(through_outages(call, what="writing"))
            await wait_until(lambda: messages(caplog), "the outage to be noticed")
            await client.execute_command("REPLICAOF", "NO", "ONE")
            assert await waiting
            await client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (redis.exceptions.ConnectionError("x"), True),
        (redis.exceptions.TimeoutError("x"), True),
        (redis.exceptions.BusyLoadingError("x"), True),
        (redis.exceptions.ReadOnlyError("x"), True),
        (
            redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
            True,
        ),
        (redis.exceptions.ResponseError("BUSYGROUP Consumer Group name already exists"), False),
        (redis.exceptions.ResponseError("NOGROUP No such key"), False),
        (redis.exceptions.AuthenticationError("x"), False),
        (redis.exceptions.AuthorizationError("x"), False),
        (redis.exceptions.OutOfMemoryError("x"), False),
        (ConnectionError("not redis-py's"), False),
    ],
)
def test_what_counts_as_an_outage(error: Exception, away: bool) -> None:
    assert is_away(error) is away
