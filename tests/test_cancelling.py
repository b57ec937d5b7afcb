"""Whoever waits for Redis can be cancelled at any instant, and is; what redis-py looks for is still found.

Not for: outages (see `test_outages.py`).
"""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError


@pytest.mark.parametrize("turns", range(8))
async def test_no_cancellation_is_lost(redis: Redis, turns: int) -> None:
    """It comes before a command, and so many turns of the event loop after its beginning."""
    loop = asyncio.get_running_loop()

    async def ask_for_ever() -> None:
        task = asyncio.current_task()
        assert task is not None

        def cancel_after(left: int) -> None:
            if left:
                loop.call_soon(cancel_after, left - 1)
            else:
                task.cancel()

        cancel_after(turns)
        while True:
            await redis.blpop(["nothing is here"], timeout=0.01)  # type: ignore[misc]

    asked = asyncio.create_task(ask_for_ever())
    await asyncio.wait({asked}, timeout=1)
    was_cancelled = asked.cancelled()
    while not asked.done():
        asked.cancel()
        await asyncio.sleep(0.05)
    assert was_cancelled
    assert await redis.ping(), "another connection is made"


async def test_a_reply_that_nobody_asked_for_is_not_taken_for_another(redis: Redis) -> None:
    connection = await redis.connection_pool.get_connection()
    await connection.send_command("ECHO", "stray")
    await asyncio.sleep(0.05)
    await redis.connection_pool.release(connection)
    assert await redis.echo("asked") == b"asked"


async def test_a_connection_that_the_server_closed_is_made_anew(redis: Redis) -> None:
    connection = await redis.connection_pool.get_connection()
    await connection.send_command("QUIT")
    await connection.read_response()
    await asyncio.sleep(0.05)
    with pytest.raises(RedisConnectionError):
        await connection.can_read_destructive()
    await redis.connection_pool.release(connection)
    assert await redis.ping()
