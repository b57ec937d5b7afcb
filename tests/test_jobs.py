"""Jobs through real processes: what comes of a video, once a frame, whoever is killed, frozen or told to end.

Not for: what is wrong with the video or the machine (see `test_jobs_trouble.py`), nor for aborting
(`test_jobs_abort.py`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from films import write_film
from jobbing import Yard, lines_of, seqs_of, summary_of, yard
from kinestream.jobs.store import LEASE_S
from kinestream.keys import Keys
from kinestream.testcard import TestCard
from pipeline import TESTCARD, TIMEOUT_S, Command, run
from servers import Server
from waiting import wait_until_sync

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

FRAMES = 240
FRAME_MS = 12.0
"""A job takes long enough to be disturbed midway, and no longer."""


@pytest.fixture
def stage(
    nothing_left: Callable[[], list[int]], tmp_path: Path, own_server: Callable[..., Server]
) -> Iterator[Yard]:
    """A durable Redis of its own, nothing on it yet."""
    with yard(tmp_path, own_server(durable=True)) as made:
        yield made


def owned_by(stage: Yard, job_id: str, *services: Command) -> Command:
    """Which of these processes works on a job."""
    owner = stage.record(job_id).owner
    (found,) = [service for service in services if f"-{service.pid}-" in owner]
    return found


def check_whole(stage: Yard, job_id: str, frames: int = FRAMES) -> None:
    """Every frame was done once, stands once in the results, in order, and the books balance."""
    folder = stage.record(job_id).folder
    assert seqs_of(folder) == [*range(frames)]
    ledger = stage.ledger(job_id)
    assert (ledger.produced, ledger.ok, ledger.in_flight) == (frames, frames, 0)
    assert summary_of(folder)["ledger"]["ok"] == summary_of(folder)["frames"] == frames
    assert not (stage.results / ".work" / job_id).exists()


def test_the_outputs_are_those_of_process_and_a_video_is_one_job(
    stage: Yard, place: Path, tmp_path: Path
) -> None:
    card = TestCard(athletes=2, motion="walk", seed=11)
    film = write_film(stage.videos / "walk.mp4", card, [card.frame_time(number) for number in range(24)])
    assert run("process", film, "-o", tmp_path / "process", "--no-video", *TESTCARD).returncode == 0
    stage.start("worker", *TESTCARD).wait_to_say("ms a batch")
    stage.jobs()
    job_id = stage.submit(film, outputs=["csv"])
    record = stage.wait(job_id, state="done")
    assert lines_of(record.folder) == lines_of(tmp_path / "process")
    assert sum(len(line["people"]) for line in lines_of(record.folder)) == record.people == 48
    assert record.total == record.offered == record.done == 24
    rows = Path(record.folder, "poses.csv").read_text().splitlines()
    assert len(rows) == 1 + 48 and rows[0].startswith(
        "seq,media_time_s,status,person,x1,y1,x2,y2,score,nose_x"
    )
    assert sorted(path.name for path in Path(record.folder).iterdir()) == [
        *("job.json", "poses.csv", "poses.jsonl")
    ]

    assert stage.submit(film, outputs=["csv"]) == job_id, "the same video is the same job"
    assert stage.submit(film) != job_id, "other options are another"
    forced = stage.submit(film, outputs=["csv"], force=True)
    assert forced != job_id and stage.wait(forced).done == 24
    os.utime(film, ns=(1, 1))
    changed = stage.submit(film, outputs=["csv"])
    assert changed not in (job_id, forced) and stage.wait(changed).done == 24
    assert stage.record(job_id).claims == 1, "handing it in again started nothing"


def test_told_to_end_another_goes_on_at_once_where_it_stood(stage: Yard) -> None:
    stage.worker(frame_ms=FRAME_MS)
    first, second = stage.jobs(), stage.jobs()
    job_id = stage.submit(stage.film("jump.mp4", FRAMES))
    stage.wait(job_id, done=20)
    ended = owned_by(stage, job_id, first, second)
    ended.signal(signal.SIGTERM)
    assert ended.wait() == 0, stage.said()
    wait_until_sync(lambda: stage.record(job_id).claims == 2, "another to take it up", timeout=LEASE_S / 2)
    record = stage.wait(job_id, state="done")
    check_whole(stage, job_id)
    assert record.note.startswith("taken over after ") and not record.note.endswith(" 0 frames")
    assert len(stage.ledger(job_id).causes) == 0


def test_killed_or_frozen_another_finishes_and_who_wakes_writes_nothing(stage: Yard) -> None:
    """One wait for both, since a claim has to run out."""
    stage.worker(frame_ms=FRAME_MS)
    killed, frozen = stage.jobs("--max-jobs", "1"), stage.jobs("--max-jobs", "1")
    ids = [stage.submit(stage.film(f"{name}.mp4", FRAMES)) for name in ("one", "two")]
    for job_id in ids:
        stage.wait(job_id, done=20)
    assert owned_by(stage, ids[0], killed, frozen) != owned_by(stage, ids[1], killed, frozen)
    kept = next(job_id for job_id in ids if owned_by(stage, job_id, killed, frozen) == frozen)
    reader = killed.child("ingest")
    assert reader.nice() == 5, "a live camera's process comes first"
    frozen.signal(signal.SIGSTOP)
    killed.signal(signal.SIGKILL)
    wait_until_sync(
        lambda: not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE, "its reader to end"
    )
    stage.jobs()
    for job_id in ids:
        record = stage.wait(job_id, state="done", timeout=LEASE_S + TIMEOUT_S)
        assert record.claims == 2 and record.note.startswith("taken over after ")
        check_whole(stage, job_id)
    before = stage.record(kept)
    frozen.signal(signal.SIGCONT)
    frozen.wait_to_say(f"{kept}: another has taken it up")
    assert stage.record(kept) == before
    check_whole(stage, kept)
    again = stage.submit(stage.film("three.mp4", 10))
    stage.wait(again, state="done")
    frozen.signal(signal.SIGTERM)
    assert frozen.wait() == 0, "it is well again"


def test_a_reader_is_killed_and_redis_restarted_with_what_it_had(stage: Yard) -> None:
    stage.worker(frame_ms=FRAME_MS)
    jobs = stage.jobs()
    job_id = stage.submit(stage.film("jump.mp4", FRAMES))
    stage.wait(job_id, done=20)
    jobs.child("ingest").kill()
    jobs.wait_to_say("goes on after")
    assert "ingest was ended by signal 9" in jobs.said
    stage.server.kill()
    stage.server.start()
    record = stage.wait(job_id, state="done")
    assert (record.claims, record.note) == (1, "")
    check_whole(stage, job_id)


def test_a_redis_that_lost_its_memory_forgets_the_job_and_takes_it_again(
    nothing_left: Callable[[], list[int]], tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    with yard(tmp_path, own_server()) as stage:
        stage.worker(frame_ms=FRAME_MS)
        jobs = stage.jobs()
        film = stage.film("jump.mp4", FRAMES)
        job_id = stage.submit(film)
        stage.wait(job_id, done=20)
        stage.server.restart()
        jobs.wait_to_say(f"{job_id}: another has taken it up")
        shown = stage.run("job", "show", job_id)
        assert shown.returncode == 2 and "there is no job" in shown.stderr
        assert stage.submit(film) == job_id
        assert stage.wait(job_id, state="done").claims == 1
        check_whole(stage, job_id)


def test_without_a_worker_a_job_waits(stage: Yard) -> None:
    jobs = stage.jobs()
    job_id = stage.submit(stage.film("jump.mp4", FRAMES))
    stage.jobs()
    wait_until_sync(lambda: stage.record(job_id).offered == 64, "as many frames as may wait", timeout=30)
    assert stage.record(job_id).state == "running" and stage.record(job_id).done == 0
    jobs.signal(signal.SIGTERM)
    jobs.wait()
    stage.worker()
    stage.wait(job_id, state="done")
    check_whole(stage, job_id)


def test_results_that_were_trimmed_unread_make_it_start_over_and_it_says_so(stage: Yard) -> None:
    stage.worker(frame_ms=FRAME_MS)
    jobs = stage.jobs()
    job_id = stage.submit(stage.film("jump.mp4", FRAMES))
    stage.wait(job_id, done=20)
    jobs.signal(signal.SIGTERM)
    jobs.wait()
    run_before = stage.record(job_id).run
    wait_until_sync(lambda: not stage.ledger(job_id).in_flight, "what is queued to be done", timeout=30)
    stage.redis("XTRIM", Keys().results, "MAXLEN", 0)
    stage.jobs()
    record = stage.wait(job_id, state="done")
    assert record.note == (
        f"analysed again from its first frame, since results of run {run_before} are missing: trimmed"
    )
    assert record.run > run_before and record.attempt == 1
    check_whole(stage, job_id)


def test_taken_over_while_outputs_are_made_only_these_are_made_again(stage: Yard) -> None:
    stage.worker()
    first, second = stage.jobs(), stage.jobs()
    job_id = stage.submit(stage.film("jump.mp4", FRAMES), outputs=["video"])
    wait_until_sync(lambda: stage.record(job_id).stage == "writing", "the video to be drawn", timeout=60)
    run = stage.record(job_id).run
    stage.redis("XTRIM", Keys().results, "MAXLEN", 0)
    owned_by(stage, job_id, first, second).signal(signal.SIGTERM)
    record = stage.wait(job_id, state="done")
    assert (record.claims, record.run, record.done) == (2, run, FRAMES)
    check_whole(stage, job_id)
    assert (Path(record.folder) / "annotated.mp4").exists()
