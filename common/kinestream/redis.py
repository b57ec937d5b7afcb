"""Connections to Redis: explicit settings, and patience while the server is away.

redis-py changes its defaults between versions, so whatever matters here is set here.

Not for: URLs (see `redisurl.py`), how a connection sends (see `cancellable.py`), finding or starting a server
(see `embedded.py`), nor for what is stored in it (see `delivery.py`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError

from kinestream.cancellable import cancellable
from kinestream.errors import RedisUnavailable
from kinestream.redisurl import check_url, safe_url

BLOCK_MS = 1000
"""The longest blocking read: short enough to look at a stop flag in time, so that no read is cancelled."""

_PATIENCE_S = 5.0
"""How long a reply may take beyond the time that its command blocks; also the limit for connecting."""

_RETRIES = 3
"""Quick retries within one command; they bridge a lost connection, `through_outages` bridges a restart."""

_RETRIED = (
    redis.exceptions.ConnectionError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.ReadOnlyError,
)
"""Retried within one command. Not timeouts: four in a row would keep a stop flag waiting for 24 s."""

_HEALTH_CHECK_S = 15
"""A connection idle for longer is pinged before use: NAT and load balancers forget idle connections."""

_LONGEST_WAIT_S = 1.0
"""Between two tries during an outage, so that work resumes within two seconds of Redis's return."""

AWAY = (*_RETRIED, redis.exceptions.TimeoutError)
"""Errors that say: this server does not serve just now, and another try may succeed."""

_REFUSED = (AuthenticationError, AuthorizationError)
"""Subclasses of redis-py's ConnectionError that no waiting mends."""

_AWAY_CODES = re.compile(r"(?:^|: -)(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MISCONF|BUSY) ")
"""The same in replies that redis-py has no type for, or that Redis 6.2 wraps since they arose in a script."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


def connect(url: str, *, blocking_ms: int = BLOCK_MS) -> redis.asyncio.Redis:
    """Return a client for a `redis://`, `rediss://` or `unix://` URL; it connects at its first command.

    `blocking_ms` is the longest BLOCK that the caller will ask for. Commands that fail because the connection
    was lost are tried again a few times, so whatever is sent must be safe to send twice. Replies are bytes.
    Raises `UsageError` for a URL that cannot be used.
    """
    check_url(url)
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        url,
        protocol=2,
        decode_responses=False,
        socket_timeout=blocking_ms / 1000 + _PATIENCE_S,
        socket_connect_timeout=_PATIENCE_S,
        retry=Retry(EqualJitterBackoff(cap=0.3, base=0.02), _RETRIES, supported_errors=_RETRIED),
        retry_on_error=[*_RETRIED],
        health_check_interval=_HEALTH_CHECK_S,
        redis_connect_func=_greet,
    )
    pool = client.connection_pool
    pool.connection_class = cancellable(pool.connection_class)
    return client


async def _greet(connection: redis.asyncio.Connection) -> None:
    """Log in without a health check first.

    redis-py 5.3 pings a connection that it has not logged in yet, and when that is refused it connects anew
    from within the connecting, until the stack is full.
    """
    connection.next_health_check = asyncio.get_running_loop().time() + _HEALTH_CHECK_S
    await connection.on_connect()


def check_server(url: str) -> None:
    """Raise `RedisUnavailable`, with one line, unless a server answers at `url` that Kinestream may use.

    It needs Redis 6.2 or newer, and must not evict: a frames stream that vanishes takes its group with it.
    """
    check_url(url)
    client = redis.Redis.from_url(
        url, protocol=2, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S, decode_responses=True
    )
    try:
        client.ping()
        _check_facts(url, _facts(client))
    except (redis.exceptions.RedisError, OSError) as error:
        raise RedisUnavailable(f"no Redis answers at {safe_url(url)}: {reason(error)}") from None
    finally:
        client.close()


def _facts(client: redis.Redis) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = client.info()  # type: ignore[assignment]  # the sync client answers at once
    except NoPermissionError:  # a server that hides its facts is taken as it is
        return {}
    return facts


def _check_facts(url: str, facts: dict[str, Any]) -> None:
    version = str(facts.get("redis_version", "6.2"))
    major_minor = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if major_minor < (6, 2):
        raise RedisUnavailable(f"the Redis at {safe_url(url)} is {version}; Kinestream needs 6.2 or newer")
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory") and policy != "noeviction":
        raise RedisUnavailable(
            f"the Redis at {safe_url(url)} evicts keys ({policy}), which would lose frames without a trace: "
            "set its maxmemory-policy to noeviction"
        )


async def through_outages(
    call: Callable[[], Awaitable[T]], *, what: str, stop: asyncio.Event | None = None
) -> T:
    """Await `call()` until it succeeds, again and again while Redis is away; every other error propagates.

    The start of an outage is logged once, as is its end; `what` says what had to wait ("committing"). `call`
    must be safe to repeat: its first try may have worked and only the reply been lost. `stop` is looked at
    between two tries only: a call is never cancelled, and the first one is made even if `stop` is set, so
    that a draining process can still commit. Out of memory is no outage: the server is there, and each caller
    knows what it can give up.

    Raises `RedisUnavailable` when `stop` is set while Redis is away, and when Redis refuses the credentials.
    """
    since = 0.0
    tries = 0
    while True:
        try:
            result = await call()
        except Exception as error:
            if isinstance(error, _REFUSED):
                raise RedisUnavailable(
                    f"Redis refused the connection while {what}: {reason(error)}"
                ) from error
            if not is_away(error):
                raise
            if not tries:
                since = time.monotonic()
                _log.warning("Redis is away while %s, waiting for it: %s", what, reason(error))
            if await _pause(tries, stop):
                raise RedisUnavailable(f"stopped while Redis was away, {what}: {reason(error)}") from error
            tries += 1
        else:
            if tries:
                _log.warning("Redis is back after %.1f s, %s goes on", time.monotonic() - since, what)
            return result


def is_away(error: BaseException) -> bool:
    """Whether `error` says that Redis does not serve just now, so that trying again is all there is to do."""
    if isinstance(error, AWAY):
        return not isinstance(error, _REFUSED)
    return isinstance(error, redis.exceptions.ResponseError) and bool(_AWAY_CODES.search(str(error)))


async def _pause(tries: int, stop: asyncio.Event | None) -> bool:
    """Wait before another try, longer each time; return whether `stop` was set."""
    longest = min(_LONGEST_WAIT_S, 0.05 * 2 ** min(tries, 10))
    delay = random.uniform(longest / 2, longest)  # jitter: not everybody comes back at the same moment
    if stop is None:
        await asyncio.sleep(delay)
        return False
    try:
        await asyncio.wait_for(stop.wait(), delay)
    except TimeoutError:
        return False
    return True


def reason(error: BaseException) -> str:
    """Return the text of an error as one line without its full stop, or its type if it has none."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
