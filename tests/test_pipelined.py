"""One connection for many callers: each gets its own reply or an error, whatever happens to the others.

Not for: outages that are waited out (see `test_outages.py`), nor what is asked of Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kinestream import pipelined as module
from kinestream.errors import RedisUnavailable
from kinestream.pipelined import Pipelined, pipelined, value_of
from kinestream.redis import connect, through_outages
from servers import BINARIES, Server, free_port
from waiting import wait_until


async def connections(redis: Redis) -> set[str]:
    """Ids of those that the server has, this client's own for asking included."""
    return {one["id"] for one in await redis.client_list()}  # type: ignore[no-untyped-call]


async def test_replies_go_to_those_who_asked(redis: Redis) -> None:
    line = pipelined(redis)
    said = [str(number) * (1 + 1000 * (number % 7)) for number in range(300)]
    assert await asyncio.gather(*(line.command("ECHO", word) for word in said)) == [
        word.encode() for word in said
    ]


async def test_all_who_use_a_client_share_one_connection_and_another_has_its_own(redis: Redis) -> None:
    assert pipelined(redis) is pipelined(redis)
    (shared,) = {await pipelined(redis).command("CLIENT", "ID") for _ in range(20)}
    own = Pipelined(redis)
    its_own = await own.command("CLIENT", "ID")
    assert its_own != shared
    await own.close()
    await wait_until(lambda: _is_gone(redis, its_own), "it to be closed")
    assert await pipelined(redis).command("CLIENT", "ID") == shared


async def _is_gone(redis: Redis, connection: int) -> bool:
    return str(connection) not in await connections(redis)


async def test_it_ends_with_its_client_and_begins_again(redis: Redis) -> None:
    async with connect(_url(redis)) as client:
        first = await pipelined(client).command("CLIENT", "ID")
        await client.aclose()
        await wait_until(lambda: _is_gone(redis, first), "it to be closed")
        assert await pipelined(client).command("PING") == b"PONG"


async def test_an_error_is_told_to_whoever_asked_alone(redis: Redis) -> None:
    line = pipelined(redis)
    await line.command("SET", "word", "x")
    before, error, after = await asyncio.gather(
        line.command("PING"), line.command("INCR", "word"), line.command("PING"), return_exceptions=True
    )
    assert isinstance(error, ResponseError) and "not an integer" in str(error)
    assert before == after == b"PONG"


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_is_cancelled_ends_and_nobody_gets_the_reply(redis: Redis, turns: int) -> None:
    line = pipelined(redis)
    await line.command("PING")
    asked = asyncio.create_task(line.command("BLPOP", "nothing", 0.05))
    for _ in range(turns):
        await asyncio.sleep(0)
    asked.cancel()
    other = asyncio.create_task(line.command("ECHO", "other"))
    await asyncio.wait({asked})
    assert asked.cancelled()
    assert await other == b"other"
    assert await line.command("ECHO", "later") == b"later"


async def test_one_who_is_cancelled_while_it_connects_leaves_the_others_connecting(redis: Redis) -> None:
    for turns in range(12):
        line = Pipelined(redis)
        asked = asyncio.create_task(line.command("PING"))
        other = asyncio.create_task(line.command("ECHO", "other"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        assert await other == b"other"
        await line.close()


async def test_a_lost_connection_is_made_anew_and_commands_are_sent_again(redis: Redis) -> None:
    line = pipelined(redis)
    number = await line.command("CLIENT", "ID")
    asked = [asyncio.create_task(line.command("BLPOP", "nothing", 0.3)) for _ in range(3)]
    await asyncio.sleep(0.05)
    await redis.client_kill_filter(_id=str(number))  # type: ignore[no-untyped-call]
    assert await asyncio.gather(*asked) == [None, None, None]
    assert await line.command("CLIENT", "ID") != number


async def test_a_server_that_is_gone_is_told_to_all(own_server: Callable[..., Server]) -> None:
    server = own_server()
    async with connect(server.url) as client:
        line = pipelined(client)
        await line.command("PING")
        server.kill()
        told = await asyncio.gather(*(line.command("PING") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, RedisConnectionError) for error in told)
        server.start()
        assert await through_outages(lambda: line.command("PING"), what="asking") == b"PONG"


async def test_a_server_that_hangs_is_told_after_the_client_s_timeout(
    own_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinestream.redis._PATIENCE_S", 0.3)
    server = own_server()
    async with connect(server.url, blocking_ms=0) as client:
        line = pipelined(client)
        await line.command("PING")
        server.freeze()
        begun_s = asyncio.get_running_loop().time()
        told = await asyncio.gather(*(line.command("PING") for _ in range(3)), return_exceptions=True)
        took_s = asyncio.get_running_loop().time() - begun_s
        server.thaw()
        assert all(isinstance(error, RedisTimeoutError) for error in told)
        assert 0.25 < took_s < 2
        assert await line.command("ECHO", "new") == b"new", "and no late reply is taken for another"


async def test_replies_that_keep_coming_are_waited_for(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for one reply, not for all who stand in line before it."""
    monkeypatch.setattr("kinestream.redis._PATIENCE_S", 0.4)
    async with connect(_url(redis), blocking_ms=0) as client:
        line = pipelined(client)
        waits = [line.command("BLPOP", "nothing", 0.25) for _ in range(4)]
        assert await asyncio.gather(*waits) == [None] * 4


def _url(redis: Redis) -> str:
    return f"unix://{redis.connection_pool.connection_kwargs['path']}"


async def test_a_connection_that_was_idle_for_long_is_made_anew(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = pipelined(redis)
    first = await line.command("CLIENT", "ID")
    assert await line.command("CLIENT", "ID") == first
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    await asyncio.sleep(0.1)
    second = await line.command("CLIENT", "ID")
    assert second != first
    waiting = asyncio.create_task(line.command("BLPOP", "nothing", 0.2))
    await asyncio.sleep(0.1)
    assert await line.command("CLIENT", "ID") == second, "one that waits for a reply is not idle"
    assert await waiting is None


async def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        count = 0
        while line := await reader.readline():
            if line.startswith(b"*"):
                count += 1
                is_login = count <= 2  # CLIENT SETINFO, twice
                stray = b"+STRAY\r\n" if served == 1 else b""
                writer.write(b"+OK\r\n" if is_login else b"+PONG\r\n" + stray)
        writer.close()

    served = 0
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with connect(f"redis://127.0.0.1:{port}") as client:
        line = pipelined(client)
        assert await line.command("PING") == b"PONG"
        await asyncio.sleep(0.05)
        assert await line.command("PING") == b"PONG", "never STRAY"
        assert served == 2
    server.close()


@pytest.mark.parametrize("version", [*BINARIES])
async def test_after_a_failover_another_connection_is_tried(
    own_server: Callable[..., Server], version: str
) -> None:
    """Of an address that leads elsewhere by now: the server that was the master keeps its connections."""
    async with connect(own_server(version=version).url) as client:
        line = pipelined(client)
        script = ("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, "word")
        await line.command(*script)
        before = await line.command("CLIENT", "ID")
        await line.command("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(ResponseError, match=r"(?i)read.?only"):
            await line.command(*script)
        assert await line.command("CLIENT", "ID") != before


async def test_what_was_half_sent_for_one_who_is_cancelled_delays_no_end(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    async with connect(server.url) as client:
        line = pipelined(client)
        await line.command("PING")
        server.freeze()
        asked = asyncio.create_task(line.command("SET", "large", bytes(20_000_000)))
        await asyncio.sleep(0.2)
        asked.cancel()
        await asyncio.wait({asked})
        async with asyncio.timeout(2):
            await client.aclose()
        server.thaw()
        assert await line.command("EXISTS", "large") == 0


async def test_it_can_be_given_back_at_any_moment(redis: Redis) -> None:
    pool = redis.connection_pool
    for turns in range(12):
        line = Pipelined(redis)
        asked = asyncio.create_task(line.command("BLPOP", "nothing", 0.5))
        for _ in range(turns):
            await asyncio.sleep(0)
        await line.close()
        with pytest.raises(RedisConnectionError, match="given back"):
            await asked
        assert not pool._in_use_connections  # type: ignore[attr-defined]


async def test_wrong_credentials_are_told_at_once(own_server: Callable[..., Server]) -> None:
    port = free_port()
    own_server(options=["--requirepass", "right", "--bind", "127.0.0.1", "--port", str(port)])
    async with connect(f"redis://:wrong@127.0.0.1:{port}") as client:
        with pytest.raises(AuthenticationError):
            await pipelined(client).command("PING")
        with pytest.raises(RedisUnavailable, match="refused"):
            await through_outages(lambda: pipelined(client).command("PING"), what="asking")


def test_a_field_of_an_entry() -> None:
    assert value_of([b"a", b"1", b"b", b"2"], b"b") == b"2"
    assert value_of([b"a", b"1", b"1", b"a"], b"1") == b"a", "a value is no name"
    assert value_of([], b"a") is None
