"""Jobs whose video, disk or workers are not as they should be: each a clear outcome, in plain words.

One stage for all of them: a job that comes to grief does no harm to the others.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from redis.asyncio import Redis

import servers
from films import longer
from jobbing import Yard, grey_film, lines_of, seqs_of, summary_of, yard
from kinestream.errors import RedisUnavailable
from kinestream.jobs.client import export
from kinestream.jobs.folders import Folders
from kinestream.jobs.service import Service as JobService
from kinestream.jobs.store import JobStore
from kinestream.keys import Keys
from lying_http import LyingServer
from pipeline import TIMEOUT_S
from servers import Server
from waiting import wait_until_sync

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

FRAMES = 20


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    if not servers.BINARIES:
        pytest.skip("no redis-server here")
    server = Server([*servers.BINARIES.values()][-1]).start()
    servers.PIDS.add(server.pid)
    with yard(tmp_path_factory.mktemp("stage"), server) as made:
        made.worker()
        made.jobs("--allow-host", "127.0.0.1", "--max-jobs", "8")
        yield made
    servers.PIDS.discard(server.pid)
    server.remove()


def no_video(stage: Yard, name: str) -> Path:
    """A file of the folder, about to be something that is no video."""
    return stage.videos / name


def test_what_cannot_be_read_fails_with_the_reason(stage: Yard) -> None:
    text, empty, shut = (no_video(stage, f"{name}.mp4") for name in ("text", "empty", "shut"))
    text.write_text("Once upon a time\n" * 100)
    empty.write_bytes(b"")
    frameless = no_video(stage, "frameless.mkv")
    with av.open(str(frameless), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        container.start_encoding()
    grey_film(shut, 3)
    ids = {video: stage.submit(video) for video in (text, empty, frameless, shut)}
    shut.unlink()  # between the handing in and now, or just in time
    for video, job_id in ids.items():
        record = stage.wait(job_id)
        if video != shut or record.state == "failed":
            assert record.state == "failed" and video.name in record.error, record.error
            assert "Traceback" not in record.error and not record.folder
            assert not (stage.results / job_id).exists() and not (stage.results / ".work" / job_id).exists()


def test_of_a_damaged_file_what_can_be_read(stage: Yard) -> None:
    whole = longer(stage.film("whole.mp4", 40), 2)
    data = whole.read_bytes()
    damaged = no_video(stage, "damaged.mkv")
    with av.open(str(whole)) as source, av.open(str(damaged), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    data = damaged.read_bytes()
    damaged.write_bytes(data[: len(data) // 2])
    record = stage.wait(stage.submit(damaged), state="done")
    assert 0 < record.done < 80
    assert seqs_of(record.folder) == [*range(record.done)]


def test_any_name_will_do(stage: Yard) -> None:
    names = ['Über "Sprung" [1].mp4', "what? #5 100%.mp4", "it's a {b}; $(c) *.mp4", "-o x.mp4"]
    ids = {name: stage.submit(stage.film(name, FRAMES), outputs=["video"]) for name in names}
    for name, job_id in ids.items():
        record = stage.wait(job_id, state="done")
        assert seqs_of(record.folder) == [*range(FRAMES)]
        assert summary_of(record.folder)["video"].endswith(name)
        with av.open(str(Path(record.folder) / "annotated.mp4")) as drawn:
            assert sum(1 for _ in drawn.decode(video=0)) == FRAMES


def test_a_url_of_an_allowed_host_and_of_others(stage: Yard) -> None:
    film = stage.film("behind.mp4", FRAMES)

    def answer(request: Any) -> None:
        data = film.read_bytes()
        request.send_response(200)
        request.send_header("Content-Type", "video/mp4")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    with LyingServer() as server:
        url = server.on("/behind.mp4", answer)
        there = stage.submit(url)
        elsewhere = stage.submit(url.replace("127.0.0.1", "localhost"))
        nowhere = stage.submit("http:///etc/passwd.mp4")
        missing = stage.submit(f"{server.url}/missing.mp4")
        record = stage.wait(there, state="done")
        assert seqs_of(record.folder) == [*range(FRAMES)]
        assert stage.wait(elsewhere).error == (
            "videos of localhost are not read here: kinestream jobs --allow-host localhost"
        )
        assert "are not read here" in stage.wait(nowhere).error
        assert stage.wait(missing).state == "failed"
    assert {path for path, _ in server.asked} == {"/behind.mp4", "/missing.mp4"}


def test_a_file_of_elsewhere_is_not_read(stage: Yard, tmp_path: Path) -> None:
    outside = grey_film(tmp_path / "outside.mp4", 3)
    (stage.videos / "link.mp4").symlink_to(outside)
    for video in (outside, stage.videos / "link.mp4"):
        record = stage.wait(stage.submit(video))
        assert record.state == "failed" and "is not in the folder of videos" in record.error


def test_poses_are_kept_where_nothing_can_be_drawn(stage: Yard) -> None:
    picture = stage.videos / "picture.png"
    cv2.imwrite(str(picture), np.full((240, 320, 3), 99, np.uint8))
    record = stage.wait(stage.submit(picture, outputs=["csv", "video"]), state="done")
    assert record.note.startswith("annotated.mp4 could not be written: ") and ".work" not in record.note
    assert sorted(path.name for path in Path(record.folder).iterdir()) == [
        *("job.json", "poses.csv", "poses.jsonl")
    ]
    header, nobody = Path(record.folder, "poses.csv").read_text().splitlines()
    assert nobody.count(",") == header.count(",") and nobody.strip(",").endswith("ok")


def test_poses_are_not_drawn_on_another_film_of_the_same_name(stage: Yard) -> None:
    film = stage.film("replaced.mp4", FRAMES)
    job_id = stage.submit(film)
    stage.wait(job_id, state="done")
    grey_film(film, 2 * FRAMES)
    again = asyncio.run(export(stage.url, job_id, outputs=["csv", "video"])).id
    record = stage.wait(again, state="failed")
    assert (
        record.error
        == f"annotated.mp4 could not be written: {film} has been changed since its poses were found"
    )
    table = asyncio.run(export(stage.url, job_id, outputs=["csv"])).id
    assert stage.wait(table, state="done").note == ""


def test_a_video_that_is_changed_while_it_is_read(
    nothing_left: Callable[[], list[int]], tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    with yard(tmp_path, own_server()) as stage:
        stage.worker(frame_ms=10)
        stage.jobs()
        film = stage.film("jump.mp4", 150)
        job_id = stage.submit(film)
        stage.wait(job_id, done=20)
        with film.open("ab") as file:
            file.write(b"more")
        record = stage.wait(job_id, state="failed")
        assert record.error == f"{film} was changed while it was read: hand it in again"
        assert not (stage.results / job_id).exists()

        other = stage.worker(name="other", frame_ms=10)
        mixed = stage.submit(stage.film("mixed.mp4", 150))
        record = stage.wait(mixed, state="failed")
        assert record.error.startswith("workers with different models share this Redis (other, slow)")
        assert stage.ledger(mixed).causes.keys() <= {"dropped:job-failed"}
        other.signal(2)
        other.wait()
        assert stage.run("job", "retry", mixed).stdout == "queued: as a new run, from the first frame\n"
        assert stage.wait(mixed, state="done").attempt == 2
        assert seqs_of(stage.record(mixed).folder) == [*range(150)]


def test_changed_between_handing_in_and_reading_it_says_so(
    stage: Yard, own_server: Callable[..., Server]
) -> None:
    film = stage.film("early.mp4", FRAMES)
    waiting = film.parent.parent / "waiting"
    waiting.mkdir()
    with yard(waiting, own_server()) as later:
        job_id = later.submit(film)
        grey_film(film, 2 * FRAMES)
        later.worker()
        later.start("jobs", "--outputs", later.results)
        record = later.wait(job_id, state="done")
        assert record.note == "the video was changed after it was handed in"
        assert len(lines_of(record.folder)) == 2 * FRAMES


def test_a_full_disk(
    nothing_left: Callable[[], list[int]], tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        with yard(tmp_path, own_server()) as stage:
            stage.worker()
            stage.results = full
            stage.jobs()
            failed = stage.wait(stage.submit(stage.film("long.mp4", 400)))
            assert failed.state == "failed" and "No space left on device" in failed.error
            assert [path.name for path in full.iterdir()] == [".work"]
            wait_until_sync(lambda: not [*(full / ".work").iterdir()], "what was begun to be removed")
            small = stage.wait(stage.submit(stage.film("short.mp4", 5)), state="done")
            assert seqs_of(small.folder) == [*range(5)], "there is room again"
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_without_memory_a_job_is_not_taken(own_server: Callable[..., Server], tmp_path: Path) -> None:
    with yard(tmp_path, own_server()) as stage:
        film = stage.film("jump.mp4", 3)
        stage.redis("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(RedisUnavailable, match="the job was not taken: Redis has no memory left"):
            stage.submit(film)
        stage.redis("CONFIG", "SET", "maxmemory", "0")
        assert stage.submit(film)


def test_folders_that_are_not_there(own_server: Callable[..., Server], tmp_path: Path) -> None:
    with yard(tmp_path, own_server()) as stage:
        for words, why in (
            (("--videos", tmp_path / "no"), f"the folder of videos {tmp_path}/no is not there"),
            (("--outputs", "/proc/results"), "cannot write to /proc/results"),
            (("--keep", "7 days"), "--keep is a whole number and m, h or d"),
        ):
            done = stage.run("jobs", *words)
            assert done.returncode == 2
            assert done.stderr.splitlines()[-1].startswith(f"kinestream jobs: {why}")


@pytest.mark.parametrize("name", ["../home/precious", "..", "/precious"])
async def test_whoever_reaches_redis_does_not_reach_other_folders(
    redis: Redis, redis_url: str, keys: Keys, tmp_path: Path, name: str
) -> None:
    thesis = tmp_path / "home" / "precious" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    (tmp_path / "home" / "precious" / "poses.jsonl").write_text("secret")
    folders = Folders(tmp_path / "videos", tmp_path / "outputs")
    folders.videos.mkdir()
    folders.prepare()
    done = folders.results("a-1")
    done.mkdir()
    (done / "poses.jsonl").write_text("")
    service = JobService(redis=redis, url=redis_url, folders=folders, keys=keys)
    export = {"state": "queued", "attempt": 1, "claims": 0, "kind": "export", "video": "v.mp4"}
    await redis.hset(keys.job(name), mapping={**export, "of": "a-1"})  # type: ignore[misc]
    await redis.hset(keys.job("b-2"), mapping={**export, "of": name})  # type: ignore[misc]
    assert await service.run_job(name) and await service.run_job("b-2")
    assert thesis.read_text() == "years of work"
    assert sorted(path.name for path in folders.outputs.iterdir()) == [".work", "a-1"]
    record = await JobStore(redis, keys).read("b-2")
    assert record is not None and record.state == "failed" and "a camera name is" in record.error
