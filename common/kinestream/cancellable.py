"""Connections to Redis whose user can be cancelled at any time.

redis-py 5.3 may lose a cancellation, and whoever was cancelled goes on for ever: where it looks for a reply
that nobody asked for, by reading with a timeout of 0 before each command, and where it sends within
`asyncio.wait_for`, before Python 3.12. Both are slow, too. Here neither happens.

Not for: their settings (see `redis.py`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import TimeoutError as RedisTimeoutError


def cancellable(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection (TCP, TLS, a Unix socket) that loses no cancellation."""
    return type(f"Cancellable{kind.__name__}", (_Cancellable, kind), {})


class _Cancellable(AbstractConnection):
    async def can_read_destructive(self) -> bool:
        """Whether there is a reply that nobody asked for; raises redis-py's error if the server has gone."""
        stream: Any = self._reader
        if stream._buffer or stream.at_eof():
            return bool(await super().can_read_destructive())  # type: ignore[no-untyped-call]  # at once
        return False

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command, within `socket_timeout`; raises redis-py's errors."""
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        limit_s, self.socket_timeout = self.socket_timeout, None  # without a limit, there is no `wait_for`
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health=False)
        except TimeoutError:
            raise RedisTimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit_s
