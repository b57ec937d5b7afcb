"""One connection for many callers at once: commands are sent as they come, and replies come in their order.

redis-py borrows a connection for every command and reads it through asyncio's streams, which costs 130 µs of
CPU for each of the four or five commands that a frame takes. This costs half of it. Whoever waits can be
cancelled at any time; the reply is read and forgotten then, and nobody else notices.

Not for: connecting and logging in, which redis-py does, nor for commands that block, unless they have a
connection of this kind to themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kinestream.redis import is_away

IDLE_S = 15.0
"""A connection that was not used for longer is made anew: NAT and load balancers forget idle connections."""

_NOT_YET = object()


def pipelined(client: Redis) -> Pipelined:
    """The connection that all share who use this client."""
    found: Pipelined = vars(client).setdefault("_kinestream_pipelined", Pipelined(client))
    return found


def value_of(fields: Sequence[bytes], name: bytes) -> bytes | None:
    """The value of one field in a stream's entry, which is a list of names and values in turn."""
    return next((value for key, value in zip(fields[::2], fields[1::2], strict=False) if key == name), None)


class Pipelined:
    """A connection out of a client's pool, and with the client's settings; it ends with the client.

    Commands are tried again as the client was told to, so whatever is asked must be safe to ask twice.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._wire: _Wire | None = None
        self._closed = False

    async def command(self, *words: bytes | str | int) -> Any:
        """The reply to a command, lists and bytes as they come; raises redis's own errors."""
        packed = hiredis.pack_command(words)  # type: ignore[arg-type]  # typed as if there were one
        if self._connection is None:
            await self._connect()
        assert self._connection is not None, "it connects or raises"
        return await self._connection.retry.call_with_retry(partial(self._ask, packed), _nothing)

    async def close(self) -> None:
        """Give the connection back, for good; whoever waits for a reply is told that it is lost."""
        self._closed = True
        connection, self._connection, self._wire = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._client.connection_pool.release(connection)

    async def _ask(self, packed: bytes) -> Any:
        wire = self._wire
        if wire is None or not wire.is_fresh():
            wire = await self._connect()
        try:
            return await wire.ask(packed)
        except RedisError as error:
            if is_away(error):  # another connection may lead to a server that serves, as after a failover
                wire.is_of_use = False
            raise
        except asyncio.CancelledError:
            wire.forgo()
            raise

    async def _connect(self) -> _Wire:
        async with self._connecting:
            if self._wire is not None and self._wire.is_fresh():
                return self._wire
            if self._closed:
                raise RedisConnectionError("the connection was given back")
            pool = self._client.connection_pool
            connection: Any = self._connection or pool.get_available_connection()  # type: ignore[no-untyped-call]
            self._connection = None
            try:
                await connection.disconnect(nowait=True)  # one that the pool had may be idle for long
                await connection.connect()
                if self._closed:
                    raise RedisConnectionError("the connection was given back")
            except BaseException:
                await connection.disconnect(nowait=True)
                await pool.release(connection)
                raise
            self._connection, self._wire = connection, _Wire(connection)
            return self._wire


async def _nothing(_: RedisError) -> None:
    """After a failed try: the next one makes the connection anew."""


class _Wire(asyncio.Protocol):
    """A connection from its login to its loss: asyncio hands what comes straight to hiredis."""

    def __init__(self, connection: AbstractConnection) -> None:
        inner: Any = connection  # redis-py names no other way to these
        self._transport = inner._writer.transport
        self._streams = self._transport.get_protocol()
        self._limit_s: float = inner.socket_timeout or float("inf")
        self._replies = hiredis.Reader(
            protocolError=RedisConnectionError, replyError=inner._parser.parse_error, notEnoughData=_NOT_YET
        )
        self._loop = asyncio.get_running_loop()
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._moved_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.is_of_use = True
        self._transport.set_protocol(self)

    def is_fresh(self) -> bool:
        """Whether a command may be sent."""
        idle_s = 0 if self._asked else self._loop.time() - self._moved_s
        return self.is_of_use and not self._transport.is_closing() and idle_s < IDLE_S

    def ask(self, packed: bytes) -> asyncio.Future[Any]:
        """Send a command; the future is its reply."""
        if not self._asked:
            self._moved_s = self._loop.time()
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._asked.append(reply)
        self._transport.write(packed)
        if self._timer is None:
            self._look_in(self._limit_s)
        return reply

    def forgo(self) -> None:
        """Somebody does not wait any more. If nobody does, nobody waits for what could not be sent either."""
        if self._transport.get_write_buffer_size() and all(reply.done() for reply in self._asked):
            self._give_up(RedisConnectionError("nobody waits any more"))

    def data_received(self, data: bytes) -> None:
        """Hand out replies."""
        self._moved_s = self._loop.time()
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets()) is not _NOT_YET:
                _settle(self._asked.popleft(), reply)
        except (RedisConnectionError, IndexError):
            self._give_up(RedisConnectionError("the server sent what nobody asked for"))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all who wait."""
        self._fail(RedisConnectionError(str(error or "Connection closed by server.")))
        self._streams.connection_lost(error)  # redis-py may wait for it

    def _look_in(self, seconds: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(min(seconds, 3600), self._look, unsent)

    def _look(self, unsent_before: int) -> None:
        """Give up if, for too long, no reply has come and nothing could be sent."""
        self._timer = None
        if self._transport.get_write_buffer_size() < unsent_before:
            self._moved_s = self._loop.time()
        left_s = self._moved_s + self._limit_s - self._loop.time()
        if self._asked and left_s > 0:
            self._look_in(left_s)
        elif self._asked:
            self._give_up(RedisTimeoutError("Timeout reading from the server"))

    def _give_up(self, error: RedisError) -> None:
        self._fail(error)
        self._transport.abort()

    def _fail(self, error: RedisError) -> None:
        self.is_of_use = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._asked:
            _settle(self._asked.popleft(), error)


def _settle(asked: asyncio.Future[Any], reply: Any) -> None:
    if asked.done():  # whoever asked was cancelled
        return
    if isinstance(reply, Exception):
        asked.set_exception(reply)
    else:
        asked.set_result(reply)
