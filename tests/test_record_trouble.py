"""`kinestream record` when something goes wrong, or somebody ends it: files are whole, errors one line."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from filmed import Stage, pictures, shown
from kinestream.errors import KinestreamError, UsageError
from kinestream.keys import Keys
from kinestream.redis import connect
from kinestream.subscriber import current_cursor
from kinestream_consumers.record import Recorder
from pipeline import Command, records_of, run
from recordings import Record, Recording, content, recordings
from servers import Server
from waiting import wait_until


@pytest.fixture
def stage(redis: Redis, keys: Keys) -> Stage:
    return Stage(redis, keys)


@pytest.fixture
async def record(stage: Stage, tmp_path: Path) -> AsyncIterator[Record]:
    async with recordings(stage, tmp_path / "recording") as start:
        yield start


async def test_arguments_that_make_no_sense_leave_nothing_behind(
    redis: Redis, keys: Keys, tmp_path: Path
) -> None:
    ordered = await current_cursor(redis, order=True, keys=keys)
    file = tmp_path / "file"
    file.write_text("")
    for cameras, folder, start, said in (
        (["no camera"], "new", "now", "a camera name is"),
        (["a"], "new", "yesterday", "a start is now, beginning or the cursor"),
        (["a"], "new", ordered, "without --order"),
        (["a"], "file", "now", "cannot write to .*file: File exists"),
        (["a"], "file/new", "now", "cannot write to .*new: Not a directory"),
    ):
        with pytest.raises(UsageError, match=said):
            Recorder(redis, cameras, tmp_path / folder, video=True, start=start, keys=keys)
    assert content(tmp_path) == {"file"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
async def test_a_full_disk_ends_it_with_one_line(stage: Stage, record: Record, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "results.jsonl").write_text("an earlier recording\n")
    (folder / "results.jsonl.part").symlink_to("/dev/full")
    recording = await record("a", folder=folder)
    await stage.play(await stage.begin("a"), 1)
    with pytest.raises(KinestreamError, match=r"cannot write .*results.jsonl.part: No space left on device"):
        await recording.ends()
    assert (folder / "results.jsonl").read_text() == "an earlier recording\n"


async def test_a_video_that_cannot_be_written(stage: Stage, record: Record, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "annotated.mp4").mkdir(parents=True)
    recording = await record("a", folder=folder)
    run = await stage.begin("a")
    await stage.play(run, 3)
    await run.finish()
    with pytest.raises(KinestreamError, match=r"cannot write .*annotated.mp4"):
        await recording.ends()
    assert len(recording.records) == 4, "the lines are whole all the same"
    assert content(folder) == {"annotated.mp4", "results.jsonl"}


async def test_a_folder_that_vanishes(stage: Stage, record: Record, tmp_path: Path) -> None:
    """The video fails when its first picture comes, and that ends the recording."""
    recording = await record("a", until_end=False)
    (recording.folder / "results.jsonl.part").unlink()
    recording.folder.rmdir()
    await stage.play(await stage.begin("a"), 3)
    with pytest.raises(KinestreamError, match="cannot write"):
        await recording.ends()


async def test_redis_restarts(own_server: Callable[..., Server], keys: Keys, tmp_path: Path) -> None:
    server = own_server(durable=True)
    async with connect(server.url) as redis:
        stage = Stage(redis, keys)
        recording = Recording(
            Recorder(redis, ["a"], tmp_path, video=True, keys=keys), tmp_path, until_end=True
        )
        await wait_until(lambda: stage.is_wanted("a"), "pictures to be wanted")
        await wait_until(lambda: recording.recorder._filming, "the recorder to begin")
        run = await stage.begin("a")
        await stage.play(run, 3)
        await recording.reads(3)
        server.restart()
        await stage.play(run, 3)
        await run.finish()
        await recording.ends()
        assert [result.seq for result in recording.records] == list(range(7))
        assert pictures(recording.video) == list(range(6))


async def test_it_can_be_stopped_while_redis_is_away(
    own_server: Callable[..., Server], keys: Keys, tmp_path: Path
) -> None:
    server = own_server()
    async with connect(server.url) as redis:
        recording = Recording(
            Recorder(redis, ["a"], tmp_path, video=True, keys=keys), tmp_path, until_end=True
        )
        await wait_until(lambda: recording.recorder._filming, "the recorder to begin")
        stage = Stage(redis, keys)
        run = await stage.begin("a")
        await stage.play(run, 3)
        await run.finish()
        await recording.ends()
        again = Recording(Recorder(redis, ["a"], tmp_path, video=True, keys=keys), tmp_path, until_end=True)
        await wait_until(lambda: again.recorder._filming, "the recorder to begin")
        server.kill()
        await again.is_stopped()
        assert again.records == []
        assert pictures(again.video) == [0, 1, 2], "nothing came, so the earlier video stays"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_command(own_server: Callable[..., Server], tmp_path: Path, how: signal.Signals) -> None:
    """Whoever ends it, its files are whole; what was there before is replaced then and not earlier."""
    server = own_server()
    folder = tmp_path / "match"
    folder.mkdir()
    for name in ("results.jsonl", "annotated.mp4"):
        (folder / name).write_text("an earlier recording\n")
    part = folder / "results.jsonl.part"
    words = ["record", "a", "b", "-o", folder, "--from", "beginning", "--redis", server.url]
    async with connect(server.url) as redis:
        stage = Stage(redis, Keys())
        with Command(tmp_path / "log.txt", *words) as command:
            await wait_until(lambda: stage.is_wanted("b"), "pictures to be wanted")
            for camera in ("a", "b"):
                await stage.play(await stage.begin(camera), 2)
            await wait_until(lambda: part.read_text().count("\n") == 4, "the records to be written")
            assert (folder / "results.jsonl").read_text() == "an earlier recording\n"
            command.signal(how)
            assert command.wait() == 0, command.said
    assert command.lines[-1] == f"{folder}: 4 records, 4 pictures"
    assert [result.seq for result in records_of(folder / "results.jsonl")] == [0, 1, 0, 1]
    assert [[tile.picture for tile in tiles] for tiles in shown(folder / "annotated.mp4", 2)] == [
        [0, 0],
        [1, 1],
    ]
    assert len(list(folder.iterdir())) == 2


def test_mistakes_are_one_line(place: Path, own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    for words, code, said in (
        (["record", "a", "-o", tmp_path / "x"], 1, "no Redis is running"),
        (["record", "-o", tmp_path / "x", "--redis", server.url], 2, "Missing argument 'CAMERA...'"),
        (["record", "a b", "-o", tmp_path / "x", "--redis", server.url], 2, "a camera name is"),
        (["record", "a", "-o", "/proc/x", "--redis", server.url], 2, "cannot write to /proc/x"),
    ):
        ended = run(*words)
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.startswith("kinestream record: ") and said in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
