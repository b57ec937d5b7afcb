"""A subscriber goes on while Redis has no memory left. Not for: everything else that it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import servers
from delivering import Delivery, outcome
from kinestream.keys import Keys
from kinestream.redis import connect
from kinestream.subscriber import subscribe


@pytest.mark.parametrize("version", [*servers.BINARIES])
@pytest.mark.parametrize("order", [True, False])
async def test_a_full_redis_is_read_on(
    own_server: Callable[..., servers.Server], keys: Keys, version: str, order: bool
) -> None:
    async with connect(own_server(version).url) as redis:
        delivery = Delivery(redis, keys)
        run, worker = await delivery.begin("every-frame"), delivery.worker()
        await delivery.offer(run, 0, 1)
        await redis.config_set("maxmemory", 1)
        results = subscribe(redis, ["cam"], order=order, start="beginning", keys=keys)
        for seq in range(2):
            reading = asyncio.create_task(anext(results))
            await asyncio.sleep(
                1.2
            )  # idle for longer than a blocked read: it looks whether Redis lost memory
            await worker.commit([outcome(one) for one in await worker.take(["cam"], 1)])
            assert (await reading).seq == seq
        await results.aclose()
