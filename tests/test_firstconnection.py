"""A camera that is away when somebody begins to read it is waited for; what can never work is not."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cameras import RtspCamera, jpegs
from delivering import Delivery
from kinestream.camerastate import CameraState, camera_states
from kinestream.embedded import find_redis_url
from kinestream.errors import Fenced, RedisUnavailable, SourceError, UsageError
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.redis import connect
from kinestream_ingest import retrying
from kinestream_ingest.firstconnection import first_connection, waited_for
from kinestream_ingest.opening import Opener
from kinestream_ingest.sources import Away, Refused, Source, open_source, usual_camera
from mjpeg_server import MjpegCamera
from pipeline import Command, redis_and_workers, run
from scripted import ScriptedSource
from servers import Server, free_port
from waiting import wait_until

SECRET = "Zq9xSecret"


class Camera:
    """Opens as a test says: an error is a try that fails; then it is away, or there if `source` is set."""

    def __init__(self, *errors: SourceError) -> None:
        self.errors = [*errors]
        self.source: Source | None = None
        self.tries = 0

    def __call__(self) -> Source:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        if self.source is None:
            raise Away("connection refused")
        return self.source


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tries follow one another at once."""
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_AWAY_S", 0.02)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0.02)


class Waiting:
    """A camera that is waited for, in a task."""

    def __init__(self, redis: Redis, keys: Keys, *errors: SourceError) -> None:
        self.camera = Camera(*errors)
        self.stop = asyncio.Event()
        self._redis, self._keys = redis, keys
        self.task = asyncio.create_task(
            waited_for(
                Opener(self.camera),
                "connection refused",
                redis,
                camera="door",
                producer="hall",
                stop=self.stop,
                keys=keys,
            )
        )

    async def state(self) -> CameraState | None:
        return (await camera_states(self._redis, ["door"], keys=self._keys)).get("door")


async def test_is_tried_until_it_is_there_and_one_line_says_so(
    redis: Redis, keys: Keys, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Waiting(redis, keys)
    await wait_until(lambda: waiting.camera.tries > 5, "several tries")
    assert caplog.messages == [
        "door: connection refused; trying again until it is there, or Ctrl-C (--no-reconnect: end at once)"
    ]
    waiting.camera.errors = [Away("it boots"), Away("it boots"), Refused("404 Not Found")]
    waiting.camera.source = source = ScriptedSource()
    assert await waiting.task is source
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING][1:]
    assert said[:-1] == ["door: still away: it boots", "door: still away: 404 Not Found"]
    assert re.fullmatch(r"door: there after \d+\.\d s", said[-1])


async def test_its_state_is_told_until_it_is_there(redis: Redis, keys: Keys, quick: None) -> None:
    waiting = Waiting(redis, keys)
    await wait_until(waiting.state, "its state")
    state = await waiting.state()
    assert state is not None
    assert (state.state, state.error, state.producer) == ("offline", "connection refused", "hall")
    waiting.camera.source = ScriptedSource()
    await waiting.task
    assert await waiting.state() is None


async def test_a_stop_ends_it_at_once(redis: Redis, keys: Keys) -> None:
    waiting = Waiting(redis, keys)
    await wait_until(waiting.state, "its state")
    waiting.stop.set()
    assert await asyncio.wait_for(waiting.task, 5) is None
    assert await waiting.state() is None


async def test_who_begins_to_read_it_meanwhile_has_it(redis: Redis, keys: Keys, quick: None) -> None:
    delivery = Delivery(redis, keys)
    await delivery.begin(camera="door")  # of somebody before
    waiting = Waiting(redis, keys)
    await wait_until(lambda: waiting.camera.tries > 1, "several tries")
    await delivery.begin(camera="door")
    with pytest.raises(Fenced, match="door: a run of this camera has begun elsewhere"):
        await waiting.task


async def test_a_stop_while_redis_is_away_as_well_is_a_clean_end(
    own_server: Callable[..., Server], keys: Keys, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server()
    async with connect(server.url) as redis:
        waiting = Waiting(redis, keys)
        await wait_until(lambda: waiting.camera.tries > 1, "several tries")
        server.kill()
        await wait_until(lambda: "Redis is away while looking after door" in caplog.text, "that line")
        waiting.stop.set()
        assert await waiting.task is None


class TestFirstTry:
    async def test_of_what_is_there_asks_no_redis(self) -> None:
        source = ScriptedSource()
        opened = await first_connection(lambda: source, "rtsp://door/1", asyncio.Event(), redis_url="none")
        assert opened is source

    @pytest.mark.parametrize("error", [SourceError("no file"), Refused("401"), UsageError("no size")])
    async def test_of_what_can_never_work_is_the_last_one(self, error: UsageError) -> None:
        def fail() -> Source:
            raise error

        with pytest.raises(type(error), match=str(error)):
            await first_connection(fail, "rtsp://door/1", asyncio.Event(), redis_url="none")

    async def test_is_the_last_one_if_somebody_says_so(self) -> None:
        with pytest.raises(Away, match="connection refused"):
            await first_connection(Camera(), "rtsp://door/1", asyncio.Event(), again=False)

    async def test_without_a_redis_there_is_nothing_to_wait_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KINESTREAM_RUNTIME_DIR", str(tmp_path / "none"))
        monkeypatch.delenv("KINESTREAM_REDIS_URL", raising=False)
        with pytest.raises(RedisUnavailable, match="kinestream redis"):
            await first_connection(Camera(), "rtsp://door/1", asyncio.Event())


class TestAway:
    @pytest.mark.parametrize(
        "source",
        [
            "rtsp://127.0.0.1:1/live",
            "http://127.0.0.1:1/live",
            "http://nobody.invalid/live",
            "webcam://99",
            "faulty://?refuse_every=1&source=testcard://",
        ],
    )
    def test_is_what_may_be_there_later(self, source: str) -> None:
        with pytest.raises(Away):
            open_source(source)

    @pytest.mark.parametrize("scheme", ["rtsp", "http"])
    def test_is_who_never_answers(self, scheme: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Away, match="no picture came"):
            open_source(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/live", timeout_s=0.3)

    @pytest.mark.parametrize(
        "source",
        [
            "none.mp4",
            "none/*.jpg",
            "rtsp:///live",
            "rtsp://user:pass/word@127.0.0.1:1/live",
            "rtsp://127.0.0.1:1/live#speed=2",
            "rtsp://127.0.0.1:1/live#decoder=abacus",
            "rtsp://door:${NOT_SET_ANYWHERE}@127.0.0.1:1/live",
            "webcam://0?colour=red",
            "webcam://front",
            "testcard://?athletes=99",
            "gopher://127.0.0.1/live",
        ],
    )
    def test_is_nothing_that_can_never_work(self, source: str) -> None:
        with pytest.raises(UsageError) as caught:
            open_source(source)
        assert not isinstance(caught.value, Away)

    def test_is_no_camera_that_refuses(self) -> None:
        with MjpegCamera(jpegs(), login=f"viewer:{SECRET}") as camera:
            for url in (
                f"http://127.0.0.1:{camera.port}/live",
                camera.url.replace("/live", "/none"),
            ):
                with pytest.raises(Refused):
                    open_source(url)


class TestUsualCamera:
    def test_is_the_name_that_the_source_has_when_it_is_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOOR", SECRET)
        with MjpegCamera(jpegs(), login=f"viewer:{SECRET}") as camera:
            for url in (camera.url, f"faulty://?source={camera.url}", camera.url.replace(SECRET, "${DOOR}")):
                source = open_source(url)
                source.close()
                assert usual_camera(url) == source.name == "127.0.0.1-live"

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("0", "webcam-0"),
            ("/dev/video7", "video7"),
            ("webcam://2?fps=30", "webcam-2"),
            ("rtsp://a:b@door:554/x/1?channel=2#transport=udp", "door-x-1"),
            ("faulty://?refuse_every=2&source=testcard://", "testcard"),
        ],
    )
    def test_of_what_is_not_open(self, text: str, name: str) -> None:
        assert usual_camera(text) == name


@pytest.fixture
def pipeline(place: Path, tmp_path: Path) -> Iterator[None]:
    """`kinestream redis`, and a worker that says where the card's athletes are."""
    with redis_and_workers(tmp_path, workers=1, options=["--model", "testcard"]):
        yield


async def _published() -> list[PoseResult]:
    async with connect(find_redis_url(None)) as redis:
        entries = await redis.xrange(Keys().results)
    return [PoseResult.unpack(fields[b"result"]) for _, fields in entries]


async def _state(camera: str) -> CameraState | None:
    async with connect(find_redis_url(None)) as redis:
        return (await camera_states(redis, [camera])).get(camera)


def _warnings(command: Command) -> list[str]:
    return [line for line in command.lines if " WARNING " in line]


@pytest.mark.usefixtures("pipeline")
class TestCommand:
    def test_an_mjpeg_camera_that_comes_later(self, tmp_path: Path) -> None:
        port = free_port()
        url = f"http://viewer:{SECRET}@127.0.0.1:{port}/live"
        with Command(tmp_path / "ingest.txt", "ingest", url, "--camera", "yard") as producer:
            producer.wait_to_say("trying again until it is there")
            producer.wait_until(lambda: asyncio.run(_state("yard")), "its state to be told")
            state = asyncio.run(_state("yard"))
            assert state is not None
            why = f"cannot watch http://127.0.0.1:{port}/live: connection refused"
            assert (state.state, state.error) == ("offline", why)
            time.sleep(3)  # nothing to wait for: this is about what is not said
            [warning] = _warnings(producer)
            assert f"yard: {why}; trying again until it is there, or Ctrl-C" in warning
            with MjpegCamera(jpegs(), port=port, login=f"viewer:{SECRET}", pause_s=0.05):
                producer.wait_to_say("yard: there after ")
                producer.wait_until(
                    lambda: any(len(record.people) == 2 for record in asyncio.run(_published())), "athletes"
                )
                producer.signal(signal.SIGINT)
                assert producer.wait() == 0
        assert [end.cause for end in asyncio.run(_published()) if end.status == "end"] == ["stopped"]
        assert SECRET not in producer.said

    def test_an_rtsp_camera_that_comes_later(self, tmp_path: Path) -> None:
        camera = RtspCamera()
        with Command(tmp_path / "ingest.txt", "ingest", camera.url(), "--timeout", "3") as producer:
            producer.wait_to_say(f"127.0.0.1-live: cannot watch {camera.url()}: connection refused; trying")
            with camera:
                producer.wait_to_say("127.0.0.1-live: there after ")
                producer.wait_until(
                    lambda: any(len(record.people) == 2 for record in asyncio.run(_published())), "athletes"
                )
                producer.signal(signal.SIGTERM)
                assert producer.wait() == 0

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_the_waiting_at_once(self, tmp_path: Path, how: signal.Signals) -> None:
        with Command(tmp_path / "ingest.txt", "ingest", "webcam://99", "--camera", "coach") as producer:
            producer.wait_to_say("there is no /dev/video99")
            producer.wait_until(lambda: asyncio.run(_state("coach")), "its state to be told")
            told_s = time.monotonic()
            producer.signal(how)
            assert producer.wait() == 0
            assert time.monotonic() - told_s < 5, "it waited for something"
        assert asyncio.run(_state("coach")) is None
        assert asyncio.run(_published()) == []

    def test_a_camera_that_refuses_is_an_error_at_once(self) -> None:
        with MjpegCamera(jpegs(), login="viewer:other") as camera:
            url = camera.url.replace("other", SECRET)
            done = run("ingest", url)
        assert (done.returncode, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        assert line.startswith(f"kinestream ingest: cannot watch http://127.0.0.1:{camera.port}/live: ")
        assert "401" in line
        assert SECRET not in line

    def test_a_recording_of_a_run_with_a_key_is_not_waited_for(self) -> None:
        done = run("ingest", "http://127.0.0.1:1/film.mp4", "--lane", "every-frame", "--run-key", "k")
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert line.endswith("/film.mp4: connection refused")
