"""The producer against a real server: order, lanes, gaps with their causes, and clean ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from delivering import Delivery
from kinestream.errors import Fenced, KinestreamError, MessageError, SourceError, UsageError
from kinestream.keys import Keys
from kinestream_ingest.encoder import Encoder
from kinestream_ingest.pacing import Thinning
from kinestream_ingest.producer import Producer
from kinestream_ingest.sources import open_source
from producing import TOO_TALL, all_ok, producing, working
from scripted import PERIOD_US, START_US, ScriptedSource, scripted_frame
from waiting import wait_until


@pytest.fixture
def delivery(redis: Redis, keys: Keys) -> Delivery:
    return Delivery(redis, keys)


class TestEveryFrame:
    async def test_gives_all_frames_in_order_and_waits_for_room(self, delivery: Delivery) -> None:
        async with working(delivery) as took, producing(delivery, ScriptedSource(60)) as under_way:
            await under_way.task
            await all_ok(delivery, under_way.run, 60)
        assert [frame.seq for frame in took] == [*range(60)]
        assert [frame.captured_us for frame in took] == [START_US + n * PERIOD_US for n in range(60)]
        assert [frame.media_time_s for frame in took] == [n / 25 for n in range(60)]
        assert {(frame.run, frame.lane, frame.codec) for frame in took} == {
            (under_way.run.number, "every-frame", "jpeg")
        }
        assert {(frame.width, frame.height, frame.view) for frame in took} == {(64, 48, (0, 0, 64, 48))}
        assert all(frame.encoded_ms > 0 for frame in took)
        assert {frame.clock for frame in took} == {"made"}
        ledger = await delivery.ledger(under_way.run)
        assert (ledger.state, ledger.lane, ledger.source) == ("ended", "every-frame", "frames of a test")
        assert (ledger.produced, ledger.ok) == (60, 60)
        [end] = [record for record in await delivery.records() if record.status == "end"]
        assert (end.seq, end.cause, end.lost_from) == (60, "", None)

    async def test_says_of_each_frame_by_which_clock_it_was_captured(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        clocks = ["arrival", "arrival", "camera", "camera", "arrival", ""]
        source.give(*(replace(scripted_frame(number), clock=name) for number, name in enumerate(clocks)))
        source.end()
        async with working(delivery) as took, producing(delivery, source) as under_way:
            await under_way.task
            await all_ok(delivery, under_way.run, len(clocks))
        assert [frame.clock for frame in took] == [*clocks[:-1], "made"]

    async def test_holds_the_source_back_while_the_stream_is_full(self, delivery: Delivery) -> None:
        source = ScriptedSource(200)
        async with producing(delivery, source) as under_way:
            await under_way.offered(4)
            seen = 4 + 1 + 8 + 1  # in the stream, at hand, handed over, and one that finds no room there
            await wait_until(lambda: under_way.producer.seen == seen, "the thread to wait")
            await asyncio.sleep(0.2)  # nothing to wait for: this is about what does not happen
            assert under_way.producer.seen == seen
            assert (await delivery.ledger(under_way.run)).produced == 4

    async def test_of_which_one_cannot_be_encoded_accounts_for_it(
        self, delivery: Delivery, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = ScriptedSource()
        for number in range(8):
            source.give(scripted_frame(number, image=TOO_TALL if number in (2, 3, 6, 7) else None))
        source.end()
        async with working(delivery), producing(delivery, source) as under_way:
            await under_way.task
            await all_ok(delivery, under_way.run, 4)
        dropped = [r for r in await delivery.records() if r.status == "dropped"]
        assert [(r.seq, r.last, r.cause) for r in dropped] == [
            (2, 3, "encoder-failed"),
            (6, 7, "encoder-failed"),
        ]
        assert under_way.run.produced == 8
        assert len([line for line in caplog.messages if "is given up on" in line]) == 1


class TestLive:
    async def test_loop_that_is_slow_builds_no_backlog(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        async with producing(delivery, source, "live") as under_way:
            source.give(scripted_frame(0))
            await under_way.offered(1)
            source.give(*map(scripted_frame, range(1, 50)))
            while under_way.producer.seen < 50:  # the loop stands still: no await
                pass
            source.end()
            await under_way.task
        records = await delivery.records()
        behind = [r for r in records if r.cause == "producer-behind"]
        assert sum(r.frames for r in behind) >= 40
        ledger = await delivery.ledger(under_way.run)
        assert ledger.produced == 50, "frames that were given up on have numbers, too"
        assert ledger.in_flight == 3
        newest = await delivery.worker().take(["cam"], 10)
        assert [one.seq for one in newest][-2:] == [48, 49]

    async def test_stream_that_is_full_drops_the_oldest(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        async with producing(delivery, source, "live") as under_way:
            for number in range(10):
                source.give(scripted_frame(number))
                await under_way.offered(number + 1)
            source.end()
            await under_way.task
        ledger = await delivery.ledger(under_way.run)
        assert (ledger.produced, ledger.dropped, ledger.in_flight) == (10, 7, 3)
        assert ledger.causes == {"dropped:no-room": 7}

    async def test_frame_is_not_late_when_nothing_is_slow(self, delivery: Delivery) -> None:
        source = open_source("testcard://?athletes=1&size=320x180&fps=20&seconds=0.5")
        async with producing(delivery, source, "live") as under_way:
            await under_way.task
            assert 0 < under_way.producer.offering.late_s < 30
        assert (await delivery.ledger(under_way.run)).produced == 10


class TestWhatIsTaken:
    async def test_skipped_frames_get_no_number(self, delivery: Delivery) -> None:
        async with (
            working(delivery) as took,
            producing(delivery, ScriptedSource(20), thinning=Thinning(every=3)) as under_way,
        ):
            await under_way.task
            await all_ok(delivery, under_way.run, 7)
        assert [frame.seq for frame in took] == [*range(7)]
        assert [frame.media_time_s for frame in took] == [n / 25 for n in range(0, 20, 3)]
        assert under_way.producer.seen == 20

    async def test_at_most_so_many_a_second(self, delivery: Delivery) -> None:
        async with (
            working(delivery) as took,
            producing(delivery, ScriptedSource(50), thinning=Thinning(max_fps=5)) as under_way,
        ):
            await under_way.task
            await all_ok(delivery, under_way.run, 10)
        assert [frame.media_time_s for frame in took] == [n / 25 for n in range(0, 50, 5)]

    async def test_shrunk_pictures_still_show_the_whole_source(self, delivery: Delivery) -> None:
        async with (
            working(delivery) as took,
            producing(delivery, ScriptedSource(1), encoder=Encoder(max_side=32)) as under_way,
        ):
            await under_way.task
            await all_ok(delivery, under_way.run, 1)
        assert took[0].encoded_size() == (32, 24)
        assert (took[0].width, took[0].height, took[0].view) == (64, 48, (0, 0, 64, 48))

    async def test_a_looped_test_card_is_encoded_once(self, delivery: Delivery) -> None:
        source = open_source("testcard://?athletes=1&size=320x180&fps=10&seconds=2&loop=0.5", pace="unpaced")
        async with working(delivery) as took, producing(delivery, source) as under_way:
            await under_way.task
            await all_ok(delivery, under_way.run, 20)
        assert [frame.data for frame in took] == 4 * [frame.data for frame in took[:5]]
        assert len({frame.data for frame in took}) == 5
        assert {frame.encoded_ms for frame in took} == {0}, "all was encoded before the first frame"

    async def test_the_label_says_which_frame_it_is(self, delivery: Delivery) -> None:
        labels: list[str] = []
        source = ScriptedSource()
        source.give(*(scripted_frame(number, labels=labels) for number in range(3)))
        source.end()
        async with producing(delivery, source) as under_way:
            await under_way.task
        run = under_way.run.number
        assert labels == [
            f"cam  run {run}  seq 0  22:13:20.000 UTC",
            f"cam  run {run}  seq 1  22:13:20.040 UTC",
            f"cam  run {run}  seq 2  22:13:20.080 UTC",
        ]


class TestEnds:
    async def test_when_told_to_stop(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        source.give(scripted_frame(0), scripted_frame(1))
        async with producing(delivery, source, "live") as under_way:
            await under_way.offered(2)
            under_way.stop.set()
            await under_way.task
        assert source.closed
        assert await delivery.told() == [("end", 2, "stopped")]
        assert (await delivery.ledger(under_way.run)).state == "ended"

    async def test_when_told_to_stop_before_it_began(self, delivery: Delivery) -> None:
        other, source, stop = await delivery.begin("live"), ScriptedSource(3), asyncio.Event()
        stop.set()
        late = Producer(
            delivery.redis, source, camera=other.camera, lane="live", stop=stop, keys=delivery.keys
        )
        await late.produce()
        assert source.closed and await delivery.told() == []
        assert (await delivery.ledger(other)).state == "open"

    async def test_while_it_waits_for_room(self, delivery: Delivery) -> None:
        async with producing(delivery, ScriptedSource(100)) as under_way:
            await under_way.offered(4)
            under_way.stop.set()
            await under_way.task
        ledger = await delivery.ledger(under_way.run)
        assert (ledger.state, ledger.produced, ledger.in_flight) == ("ended", 4, 4)
        [end] = [record for record in await delivery.records() if record.status == "end"]
        assert (end.seq, end.cause) == (4, "stopped")

    async def test_when_the_source_breaks(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        source.give(scripted_frame(0), scripted_frame(1), SourceError("the cable is out"))
        async with producing(delivery, source) as under_way:
            with pytest.raises(KinestreamError, match="the source ended early: the cable is out") as raised:
                await under_way.task
        assert not isinstance(raised.value, UsageError), "that would be exit code 2"
        [end] = await delivery.records()
        assert (end.status, end.seq) == ("end", 2)
        assert end.cause == "source-failed: the cable is out"

    async def test_when_what_the_source_gives_is_no_frame(self, delivery: Delivery) -> None:
        """As with a clock that is said to be so wrong that times are none any more."""
        source = ScriptedSource(2)
        producer = Producer(
            delivery.redis, source, camera="cam", lane="live", keys=delivery.keys, clock_offset_ms=9e12
        )
        with pytest.raises(MessageError, match="captured_us must be"):
            await producer.produce()
        end = (await delivery.records())[-1]
        assert end.status == "end" and end.cause.startswith("source-failed: captured_us must be")
        (run,) = producer.offering.runs
        ledger = await delivery.ledger(run)
        assert ledger.state == "ended" and ledger.balanced

    async def test_when_the_source_has_a_bug(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        source.give(scripted_frame(0), ZeroDivisionError("a bug"))
        async with producing(delivery, source) as under_way:
            with pytest.raises(ZeroDivisionError, match="a bug"):
                await under_way.task
        assert await delivery.told() == [("end", 1, "source-failed: ZeroDivisionError: a bug")]

    async def test_when_somebody_else_produces_the_camera(self, delivery: Delivery) -> None:
        source = ScriptedSource()
        source.give(scripted_frame(0))
        async with producing(delivery, source, "live") as under_way:
            await under_way.offered(1)
            newer = await delivery.begin("live")
            source.give(scripted_frame(1))
            with pytest.raises(Fenced, match="a newer run of this camera has begun"):
                await under_way.task
        assert source.closed
        assert await delivery.told() == [("end", 1, "next-run")], "the newer run ended the older one, once"
        assert (await delivery.ledger(newer)).state == "open"

    async def test_without_a_frame(self, delivery: Delivery) -> None:
        async with producing(delivery, ScriptedSource(0)) as under_way:
            await under_way.task
        assert await delivery.told() == [("end", 0, "")]

    async def test_with_a_bad_name_before_anything_is_sent(self, delivery: Delivery) -> None:
        with pytest.raises(UsageError, match="a camera name"):
            Producer(delivery.redis, ScriptedSource(1), camera="no spaces", lane="live", keys=delivery.keys)
        assert await delivery.everything() == {}
