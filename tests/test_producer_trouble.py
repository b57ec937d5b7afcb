"""The producer when Redis forgets, goes away, or has no memory left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from delivering import Delivery
from kinestream.delivery import Limits
from kinestream.errors import RedisUnavailable
from kinestream.keys import Keys
from kinestream.redis import connect
from kinestream_ingest.offering import Offering
from producing import TOO_TALL, all_ok, producing, working
from scripted import ScriptedSource, scripted_frame
from servers import Server
from waiting import wait_until


@pytest.fixture
def delivery(redis: Redis, keys: Keys) -> Delivery:
    return Delivery(redis, keys)


class TestLostRuns:
    async def test_a_new_run_goes_on_with_the_frame_at_hand(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        async with producing(delivery, source) as under_way:
            source.give(scripted_frame(0), scripted_frame(1))
            await under_way.offered(2)
            snapshot = await delivery.snapshot()
            source.give(scripted_frame(2), scripted_frame(3))
            await under_way.offered(4)
            await delivery.come_back_with(snapshot)
            source.give(*map(scripted_frame, (4, 5)))
            source.end()
            await wait_until(lambda: len(under_way.producer.offering.runs) == 2, "a new run")
            async with working(delivery) as took:
                await under_way.task
                await all_ok(delivery, under_way.run, 2)
        old, new = under_way.producer.offering.runs
        assert new.number > old.number
        of_new = [frame for frame in took if frame.run == new.number]
        assert [(frame.seq, frame.media_time_s) for frame in of_new] == [(0, 4 / 25), (1, 5 / 25)]
        ledger = await delivery.ledger(old)
        assert (ledger.produced, ledger.lost, ledger.state) == (4, 2, "ended")
        ends = {r.run: (r.seq, r.lost_from) for r in await delivery.records() if r.status == "end"}
        assert ends == {old.number: (4, 2), new.number: (2, None)}

    async def test_frames_given_up_on_meanwhile_belong_to_the_new_run(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        async with producing(delivery, source, "live") as under_way:
            source.give(scripted_frame(0))
            await under_way.offered(1)
            await delivery.come_back_with({})
            source.give(scripted_frame(1, image=TOO_TALL), scripted_frame(2))
            await under_way.offered(2)
            source.end()
            await under_way.task
        ledger = await delivery.ledger(under_way.run)
        assert (ledger.produced, ledger.dropped, ledger.in_flight) == (2, 1, 1)
        assert ledger.causes == {"dropped:encoder-failed": 1}

    async def test_at_the_very_end_only_the_end_is_left_to_tell(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        async with producing(delivery, source) as under_way:
            source.give(scripted_frame(0))
            await under_way.offered(1)
            await delivery.come_back_with({})
            source.end()
            await under_way.task
        [end] = await delivery.records()
        assert (end.status, end.seq, end.lost_from) == ("end", 1, 0)


class TestOutages:
    async def test_live_frames_of_an_outage_are_accounted_for(
        self, own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
    ) -> None:
        server = own_server(durable=True)
        async with connect(server.url) as redis:
            delivery, source = Delivery(redis, Keys()), ScriptedSource()
            async with producing(delivery, source, "live") as under_way:
                source.give(scripted_frame(0))
                await under_way.offered(1)
                server.kill()
                source.give(scripted_frame(1))
                await wait_until(lambda: under_way.producer.offering.away, "the outage to be noticed")
                for number in range(2, 20):
                    source.give(scripted_frame(number))
                await wait_until(lambda: under_way.producer.seen == 20, "the camera to go on")
                server.start()
                await under_way.offered(4)  # 0, the one at hand, and the two newest
                source.end()
                await under_way.task
            ledger = await delivery.ledger(under_way.run)
            assert ledger.produced == 20
            assert ledger.causes["dropped:redis-away"] == 16
            assert len(under_way.producer.offering.runs) == 1
        assert any("Redis is away" in line for line in caplog.messages)
        assert any("Redis is back" in line for line in caplog.messages)

    async def test_every_frame_loses_nothing_in_an_outage(self, own_server: Callable[..., Server]) -> None:
        server = own_server(durable=True)
        async with connect(server.url) as redis:
            delivery = Delivery(redis, Keys(), Limits(every_frame_room=100))
            source = ScriptedSource()
            async with producing(delivery, source) as under_way:
                source.give(*map(scripted_frame, range(5)))
                await under_way.offered(5)
                server.kill()
                source.give(*map(scripted_frame, range(5, 40)))
                source.end()
                await wait_until(lambda: under_way.producer.offering.away, "the outage to be noticed")
                server.start()
                await under_way.task
            ledger = await delivery.ledger(under_way.run)
            assert (ledger.produced, ledger.in_flight) == (40, 40)
            assert [one.seq for one in await delivery.worker().take(["cam"], 50)] == [*range(40)]

    async def test_server_that_comes_back_empty_is_a_new_run(self, own_server: Callable[..., Server]) -> None:
        server = own_server()
        async with connect(server.url) as redis:
            delivery, source = Delivery(redis, Keys()), ScriptedSource()
            async with producing(delivery, source) as under_way:
                source.give(scripted_frame(0))
                await under_way.offered(1)
                server.restart()
                source.give(scripted_frame(1))
                source.end()
                await under_way.task
            old, new = under_way.producer.offering.runs
            assert (await delivery.ledger(old)).lost == 1
            assert (await delivery.ledger(new)).produced == 1

    async def test_stop_ends_the_wait_for_a_server(self, own_server: Callable[..., Server]) -> None:
        server = own_server()
        async with connect(server.url) as redis:
            source = ScriptedSource()
            async with producing(Delivery(redis, Keys()), source, "live") as under_way:
                source.give(scripted_frame(0))
                await under_way.offered(1)
                server.kill()
                source.give(scripted_frame(1))
                await wait_until(lambda: under_way.producer.offering.away, "the outage to be noticed")
                under_way.stop.set()
                with pytest.raises(RedisUnavailable, match="stopped while Redis was away"):
                    await under_way.task


class TestWantOfMemory:
    async def fill(self, redis: Redis) -> None:
        """Leave no memory, until `make_room`."""
        used = int((await redis.info("memory"))["used_memory"])
        await redis.config_set("maxmemory", used // 2)

    async def make_room(self, redis: Redis) -> None:
        await redis.config_set("maxmemory", 0)

    async def test_live_frames_are_given_up_on(
        self,
        own_server: Callable[..., Server],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        refusals: list[Exception] = []
        complain = Offering._complain
        monkeypatch.setattr(
            Offering, "_complain", lambda self, error: (refusals.append(error), complain(self, error))
        )
        async with connect(own_server().url) as redis:
            delivery, source = Delivery(redis, Keys(), Limits(live_room=50)), ScriptedSource()
            async with producing(delivery, source, "live") as under_way:
                source.give(scripted_frame(0))
                await under_way.offered(1)
                await self.fill(redis)
                for number in (1, 2, 3):
                    source.give(scripted_frame(number))
                    await wait_until(lambda n=number: len(refusals) == n, "a frame to be refused")
                await self.make_room(redis)
                source.give(scripted_frame(4))
                await under_way.offered(2)
                source.end()
                await under_way.task
            ledger = await delivery.ledger(under_way.run)
            assert (ledger.produced, ledger.in_flight) == (5, 2)
            assert ledger.causes == {"dropped:redis-full": 3}
        assert len([line for line in caplog.messages if "no memory left" in line]) == 1

    async def test_every_frame_waits(self, own_server: Callable[..., Server]) -> None:
        async with connect(own_server().url) as redis:
            delivery, source = Delivery(redis, Keys(), Limits(every_frame_room=50)), ScriptedSource()
            async with producing(delivery, source) as under_way:
                source.give(scripted_frame(0))
                await under_way.offered(1)
                await self.fill(redis)
                source.give(*map(scripted_frame, range(1, 30)))
                source.end()
                await wait_until(lambda: under_way.producer.seen > 8, "the handover to fill")
                await self.make_room(redis)
                await under_way.task
            ledger = await delivery.ledger(under_way.run)
            assert (ledger.produced, ledger.in_flight) == (30, 30)

    async def test_run_begins_when_there_is_memory(
        self, own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connect(own_server().url) as redis:
            delivery = Delivery(redis, Keys())
            await self.fill(redis)
            async with producing(delivery, ScriptedSource(2)) as under_way:
                await wait_until(lambda: "no memory left" in caplog.text, "the want of memory to be told")
                await self.make_room(redis)
                await under_way.task
            assert (await delivery.ledger(under_way.run)).produced == 2
