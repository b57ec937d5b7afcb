"""A producer of many cameras obeys what is wanted, and no camera holds up another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from delivering import Delivery
from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import CameraState, camera_states
from kinestream.claims import owners, producers
from kinestream.errors import SourceError
from kinestream.keys import Keys
from kinestream.testcard import TestCard
from kinestream.video import VideoWriter
from kinestream.wanted import drop_camera, pause_camera, want_camera, wanted_cameras
from kinestream_ingest import retrying, served, service
from kinestream_ingest.served import Served
from kinestream_ingest.service import Service
from kinestream_ingest.sources import Source
from scripted import ScriptedSource, scripted_frame
from waiting import wait_until

Opens = Callable[[], Source]


class Film(ScriptedSource):
    """A recording: it does not come back."""

    returns = live = False


@dataclass
class Hall:
    """Producers in this process, on one Redis; `cameras` says what opening a camera of a name does."""

    redis: Redis
    keys: Keys
    cameras: dict[str, Opens] = field(default_factory=dict)
    opened: dict[str, list[ScriptedSource]] = field(default_factory=dict)
    running: list[tuple[Service, asyncio.Task[None]]] = field(default_factory=list)

    def start(self, name: str = "one", **how: object) -> Service:
        stop = asyncio.Event()

        def make(spec: CameraSpec) -> Served:
            return Served(
                self.redis, spec, producer=name, keys=self.keys, open_it=lambda: self._open(spec.name)
            )

        producer = Service(
            self.redis, name=name, owner=f"{name}/{id(stop)}", stop=stop, keys=self.keys, make=make, **how
        )  # type: ignore[arg-type]
        self.running.append((producer, asyncio.create_task(producer.serve())))
        return producer

    def _open(self, name: str) -> Source:
        if name in self.cameras:
            return self.cameras[name]()
        source = ScriptedSource()
        source.give(scripted_frame(0))
        self.opened.setdefault(name, []).append(source)
        return source

    async def want(self, *names: str, **options: object) -> None:
        for name in names:
            spec = CameraSpec.from_plain({"name": name, "source": "testcard://"} | options)
            await want_camera(self.redis, spec, keys=self.keys)

    async def state(self, name: str) -> CameraState:
        states = await camera_states(self.redis, [name], keys=self.keys)
        return states.get(name) or CameraState(camera=name, state="unknown")

    async def becomes(self, name: str, state: str) -> CameraState:
        async def is_so() -> bool:
            return (await self.state(name)).state == state

        await wait_until(is_so, f"{name} to be {state}")
        return await self.state(name)

    async def ends(self) -> list[tuple[str, str]]:
        records = await Delivery(self.redis, self.keys).records()
        return [(record.camera, record.cause) for record in records if record.status == "end"]

    async def stop(self, producer: Service) -> None:
        producer._stop.set()
        for one, task in self.running:
            if one is producer:
                await task


@pytest.fixture
async def hall(redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hall]:
    monkeypatch.setattr(service, "TICK_S", 0.02)
    monkeypatch.setattr(service, "BEAT_S", 0.0)
    monkeypatch.setattr(service, "_QUIET_S", 0.0)
    monkeypatch.setattr(served, "_LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0.02)
    made = Hall(redis, keys)
    yield made
    for producer, _ in made.running:
        producer._stop.set()
    await asyncio.gather(*(task for _, task in made.running))


async def test_cameras_come_and_go(hall: Hall) -> None:
    producer = hall.start()
    await hall.want("a", "b")
    live = await hall.becomes("a", "live")
    assert (live.producer, live.source, live.width) == ("one", "frames of a test", 64)
    await hall.becomes("b", "live")
    await pause_camera(hall.redis, "a", True, keys=hall.keys)
    await hall.becomes("a", "paused")
    await wait_until(lambda: hall.opened["a"][0].closed, "it to be closed")
    assert await hall.ends() == [("a", "stopped")]
    await pause_camera(hall.redis, "a", False, keys=hall.keys)
    again = await hall.becomes("a", "live")
    assert again.run is not None and live.run is not None and again.run > live.run
    await drop_camera(hall.redis, "a", keys=hall.keys)
    await hall.becomes("a", "unknown")
    await wait_until(lambda: "a" not in producer.serving, "nothing to be left of it")
    assert await owners(hall.redis, ["a", "b"], keys=hall.keys) == {"b": producer.owner}
    assert (await hall.state("b")).connections == 1
    await hall.stop(producer)
    assert (await hall.ends())[2:] == [("b", "stopped")]
    assert await owners(hall.redis, ["b"], keys=hall.keys) == {}
    assert await producers(hall.redis, keys=hall.keys) == []
    assert (await hall.state("b")).state == "unknown"


async def test_wanted_otherwise_is_a_new_run(hall: Hall) -> None:
    producer = hall.start()
    await hall.want("a")
    await hall.becomes("a", "live")
    await hall.want("a", max_side=32)
    await wait_until(lambda: len(hall.opened["a"]) == 2, "it to be opened again")
    assert producer.serving["a"].spec.max_side == 32
    assert await hall.ends() == [("a", "stopped")]


async def test_one_that_hangs_holds_up_no_other(hall: Hall) -> None:
    go_on = threading.Event()

    def hang() -> Source:
        assert go_on.wait(60)
        raise SourceError("it came back too late")

    hall.cameras["hangs"] = hang
    producer = hall.start()
    await hall.want("hangs", "a")
    await hall.becomes("a", "live")
    assert (await hall.state("hangs")).state == "connecting"
    await drop_camera(hall.redis, "hangs", keys=hall.keys)
    await wait_until(lambda: "hangs" not in producer.serving, "it to be left alone")
    await hall.stop(producer)
    go_on.set()


async def test_one_that_is_away_is_tried_for_ever(hall: Hall) -> None:
    tries = 0

    def away() -> Source:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise SourceError("it boots")
        source = ScriptedSource()
        source.give(scripted_frame(0))
        return source

    hall.cameras["a"] = away
    hall.start()
    await hall.want("a")
    await wait_until(lambda: tries > 1, "a second try")
    await hall.becomes("a", "live")
    assert tries == 4


async def test_a_bug_is_told_and_tried_again(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[Opens] = [lambda: 1 // 0, ScriptedSource]  # type: ignore[list-item]
    hall.cameras["a"] = lambda: outcomes.pop(0)()
    hall.start()
    await hall.want("a", "b")
    await hall.becomes("a", "live")
    await hall.becomes("b", "live")
    assert "a: this is a bug" in caplog.text


async def test_a_recording_is_read_once(hall: Hall) -> None:
    films = []

    def film() -> Source:
        films.append(Film(0))
        return films[-1]

    hall.cameras["film"] = film
    producer = hall.start()
    await hall.want("film")
    finished = await hall.becomes("film", "finished")
    assert finished.run is not None
    await wait_until(lambda: not producer.serving, "it to be given back")
    await hall.stop(producer)
    hall.start("two")
    await hall.want("other")
    await hall.becomes("other", "live")
    assert len(films) == 1
    await hall.want("film")  # somebody asks for it again
    await wait_until(lambda: len(films) == 2, "it to be read again")


async def test_a_recording_that_is_damaged_is_finished_with_the_reason(hall: Hall) -> None:
    film = Film()
    film.give(scripted_frame(0), SourceError("the file is damaged at 1.5 s"))
    hall.cameras["film"] = lambda: film
    hall.start()
    await hall.want("film")
    assert "the file is damaged at 1.5 s" in (await hall.becomes("film", "finished")).error


async def test_producers_divide_the_cameras_and_take_over(hall: Hall) -> None:
    one, two = hall.start("one"), hall.start("two", max_cameras=3)
    await wait_until(lambda: two._last is not None and one._last is not None, "both to look")
    await hall.want("a", "b", "c", "d")
    await wait_until(lambda: len(one.serving) == len(two.serving) == 2, "each to have its share")
    assert one.serving.keys().isdisjoint(two.serving)
    await hall.stop(one)
    await wait_until(lambda: len(two.serving) == 3, "the other one to take as many as it may")


async def test_producers_that_start_together_divide_what_is_wanted_already(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_QUIET_S", 0.5)
    await hall.want(*"abcdef")
    one, two = hall.start("one"), hall.start("two")
    await wait_until(lambda: len(one.serving) + len(two.serving) == 6, "all to be served")
    assert len(one.serving) == len(two.serving) == 3


async def test_after_a_long_outage_each_has_its_own_again(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claims have run out, and the producers find Redis back one after the other."""
    monkeypatch.setattr(service, "_QUIET_S", 0.5)
    away: set[str] = set()
    announce = service.announce

    async def announce_unless_away(redis: Redis, owner: str, *, keys: Keys) -> int:
        if owner in away:
            raise ConnectionError("it is away")
        return await announce(redis, owner, keys=keys)

    monkeypatch.setattr(service, "announce", announce_unless_away)
    await hall.want(*"abcd")
    one, two = hall.start("one"), hall.start("two")
    await wait_until(lambda: len(one.serving) == len(two.serving) == 2, "each to have its share")
    before = [{*one.serving}, {*two.serving}]
    monkeypatch.setattr(service, "_QUIET_S", 2.0)  # a slow machine may need long from one to the other
    away |= {one.owner, two.owner}
    await wait_until(lambda: one._away and two._away, "both to notice")
    await hall.redis.delete(hall.keys.producers, *map(hall.keys.claim, "abcd"))
    for producer in one, two:
        away.remove(producer.owner)
        await wait_until(lambda: not producer._away, "it to find it back")  # noqa: B023
    await wait_until(lambda: time.monotonic() > two._patient_until, "all to have been taken")
    assert [{*one.serving}, {*two.serving}] == before
    assert all(len(sources) == 1 for sources in hall.opened.values())


async def test_a_recording_is_read_once_though_redis_goes_away_at_its_end(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = []

    def film() -> Source:
        films.append(Film(1))
        return films[-1]

    hall.cameras["film"] = film
    producer = hall.start()
    note, tries = producer._note_finished, 0

    async def fails_at_first(one: Served) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError("it is away")
        await note(one)

    monkeypatch.setattr(producer, "_note_finished", fails_at_first)
    await hall.want("film")
    await hall.becomes("film", "finished")
    await wait_until(lambda: not producer.serving, "it to be given back")
    assert (tries, len(films), len(await hall.ends())) == (2, 1, 1)


async def test_one_that_lost_its_claim_lets_go(hall: Hall) -> None:
    producer = hall.start()
    await hall.want("a")
    await hall.becomes("a", "live")
    await hall.redis.set(hall.keys.claim("a"), "somebody/else", px=60_000)
    await wait_until(lambda: not producer.serving, "it to let go")
    assert hall.opened["a"][0].closed
    assert await owners(hall.redis, ["a"], keys=hall.keys) == {"a": "somebody/else"}


async def test_a_camera_may_be_for_one_producer_only(hall: Hall) -> None:
    hall.start("one")
    await hall.want("a", producer="two")
    await hall.want("b")
    await hall.becomes("b", "live")
    assert (await hall.state("a")).state == "unknown"
    hall.start("two")
    assert (await hall.becomes("a", "live")).producer == "two"


async def test_who_ingests_it_meanwhile_has_it_until_the_end(hall: Hall) -> None:
    hall.start()
    await hall.want("a")
    await hall.becomes("a", "live")
    other = await Delivery(hall.redis, hall.keys).begin(camera="a")
    hall.opened["a"][0].give(scripted_frame(1))
    assert "a newer run of this camera has begun" in (await hall.becomes("a", "offline")).error
    await other.finish()
    again = await hall.becomes("a", "live")
    assert again.run is not None and again.run > other.number


async def test_while_it_is_opened_again_it_is_not_told_as_it_was(hall: Hall) -> None:
    may_open = threading.Event()
    may_open.set()
    opened: list[ScriptedSource] = []

    def reopened() -> Source:
        assert may_open.wait(10)
        opened.append(ScriptedSource())
        opened[-1].give(scripted_frame(0))
        return opened[-1]

    hall.cameras["a"] = reopened
    hall.start()
    await hall.want("a")
    before = await hall.becomes("a", "live")
    may_open.clear()
    other = await Delivery(hall.redis, hall.keys).begin(camera="a")
    opened[0].give(scripted_frame(1))
    await hall.becomes("a", "offline")
    await other.finish()
    assert (await hall.becomes("a", "connecting")).run == before.run
    may_open.set()
    assert (await hall.becomes("a", "live")).run != before.run


async def test_a_redis_that_forgot_everything_is_told_again(hall: Hall) -> None:
    hall.start()
    await hall.want("a")
    await hall.want("resting", paused=True)
    await hall.becomes("a", "live")
    await hall.becomes("resting", "paused")
    await hall.redis.delete(hall.keys.wanted)

    async def restored() -> bool:
        specs = await wanted_cameras(hall.redis, keys=hall.keys)
        return [(spec.name, spec.paused) for spec in specs] == [("a", False), ("resting", True)]

    await wait_until(restored, "what is wanted to be known again")
    await drop_camera(hall.redis, "resting", keys=hall.keys)
    await drop_camera(hall.redis, "a", keys=hall.keys)
    await hall.becomes("a", "unknown")
    assert await wanted_cameras(hall.redis, keys=hall.keys) == []  # dropped is not forgotten


async def test_what_cannot_be_read_is_told_once(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    producer = hall.start()
    await hall.redis.hset(hall.keys.wanted, "broken", b"\xc1")  # type: ignore[misc]
    await hall.want("a")
    await hall.becomes("a", "live")
    seen = producer._last
    await wait_until(lambda: producer._last is not seen, "another look")
    assert caplog.text.count("broken: what is wanted of it cannot be read") == 1


async def test_a_watched_folder(hall: Hall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "LOOK_S", 0.02)
    card = TestCard.parse("testcard://?size=160x160&fps=10")
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, 160, 160) as film:
            film.write(card.draw(0), 0.0)
            film.write(card.draw(0.1), 0.1)
    (tmp_path / "c.mp4").write_bytes(b"no film")
    producer = hall.start()
    await hall.want("films", source=f"watch://{tmp_path}?settled_s=0")
    waiting = await hall.becomes("films", "waiting")
    assert "c.mp4 cannot be read as a video" in waiting.error
    assert await hall.ends() == [("films", ""), ("films", "")]
    await hall.stop(producer)
    hall.start("two")
    assert (await hall.becomes("films", "waiting")).producer == "two"
    assert len(await hall.ends()) == 2
    (tmp_path / "c.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())

    async def read() -> bool:
        return len(await hall.ends()) == 3

    await wait_until(read, "the third one, which is a video by now, to be read")


async def test_stalled(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinestream_ingest.telling._STALLED_S", 0.05)
    hall.start()
    await hall.want("a")
    stalled = await hall.becomes("a", "stalled")
    assert stalled.error == "no picture for 0 s"
    assert replace(stalled, state="live").producer == "one"


async def test_what_it_says_of_a_camera_that_broke(hall: Hall) -> None:
    hall.start()
    await hall.want("a")
    await hall.becomes("a", "live")
    tries = 0

    def away() -> Source:
        nonlocal tries
        tries += 1
        raise SourceError("no route to host")

    hall.cameras["a"] = away
    hall.opened["a"][0].give(SourceError("the cable is out"))
    await wait_until(lambda: tries > 1, "it to be tried again")

    async def is_told() -> bool:
        return (await hall.state("a")).error == "no route to host"

    await wait_until(is_told, "the state to say why")
    assert (await hall.state("a")).state == "offline"
