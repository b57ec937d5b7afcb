"""Ending a job: what is queued of it is cleared and counted, its run says why, and it can be tried again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

import frames
from jobbing import Yard, seqs_of, yard
from kinestream.groupconsumer import GroupConsumer
from kinestream.jobs.ending import end_run
from kinestream.keys import Keys
from kinestream.ledger import Ledger, read_ledger
from kinestream.messages import PoseResult
from kinestream.run import Run
from pipeline import TIMEOUT_S
from servers import Server
from waiting import wait_until_sync

FRAMES = 150


@pytest.fixture
def stage(
    nothing_left: Callable[[], list[int]], tmp_path: Path, own_server: Callable[..., Server]
) -> Iterator[Yard]:
    with yard(tmp_path, own_server()) as made:
        yield made


def end_of(stage: Yard, job_id: str, run: int) -> PoseResult:
    """The `end` of a job's run."""
    packed = [fields[b"result"] for _, fields in stage.redis("XRANGE", Keys().results, "-", "+")]
    found = [PoseResult.unpack(one) for one in packed]
    (end,) = [one for one in found if (one.camera, one.run, one.status) == (job_id, run, "end")]
    return end


@pytest.mark.timeout(3 * TIMEOUT_S)
def test_a_job_that_runs_is_ended_and_tried_again(stage: Yard) -> None:
    worker = stage.worker(frame_ms=200)
    jobs = stage.jobs()
    job_id = stage.submit(stage.film("jump.mp4", FRAMES))
    stage.wait(job_id, done=3)
    said = stage.run("job", "abort", job_id)
    assert (said.returncode, said.stdout) == (0, "whoever works on it, or takes it up next, ends it\n")
    record = stage.wait(job_id, state="aborted")
    assert not stage.redis("EXISTS", Keys().job_claim(job_id))
    wait_until_sync(lambda: stage.ledger(job_id).in_flight == 0, "what a worker held to be done")
    ledger = stage.ledger(job_id)
    cleared = ledger.causes["dropped:aborted"]
    assert ledger.balanced and ledger.produced == ledger.ok + cleared and cleared > 10
    assert record.error == f"aborted; {cleared} queued frames were cleared"
    assert stage.redis("XLEN", Keys().frames(job_id)) == 0
    end = end_of(stage, job_id, record.run)
    assert (end.cause, end.seq) == ("aborted", ledger.produced)
    wait_until_sync(lambda: not (stage.results / ".work" / job_id).exists(), "what was written to be gone")
    assert not (stage.results / job_id).exists()
    assert stage.run("job", "abort", job_id).returncode == 0
    assert "aborted" in stage.run("job", "watch", job_id).stderr

    worker.signal(signal.SIGTERM)
    worker.wait()
    stage.worker()
    assert stage.run("job", "retry", job_id).stdout == "queued: as a new run, from the first frame\n"
    again = stage.wait(job_id, state="done")
    assert (again.attempt, again.claims, again.error) == (2, 1, "") and again.run > record.run
    assert seqs_of(again.folder) == [*range(FRAMES)]
    refused = stage.run("job", "retry", job_id)
    assert refused.returncode == 2 and "it is done: hand the video in with force" in refused.stderr
    refused = stage.run("job", "abort", job_id)
    assert refused.returncode == 2 and f"{job_id} is over already: done" in refused.stderr
    assert jobs.runs


@pytest.mark.timeout(3 * TIMEOUT_S)
def test_a_job_that_waits_is_ended_and_one_that_was_let_go_of_by_whoever_comes(stage: Yard) -> None:
    job_id = stage.submit(stage.film("jump.mp4", 10))
    assert stage.run("job", "abort", job_id).stdout == "aborted\n"
    assert stage.record(job_id).error == "aborted before it was begun"
    begun = stage.submit(stage.film("begun.mp4", 10))
    jobs = stage.jobs()
    wait_until_sync(lambda: stage.record(begun).offered == 10, "its frames to be offered")
    assert stage.record(job_id).claims == 0, "nobody took up what was aborted"
    jobs.signal(signal.SIGTERM)
    jobs.wait()
    assert stage.record(begun).state == "queued"
    assert stage.run("job", "abort", begun).stdout.startswith("whoever works on it")
    stage.jobs()
    record = stage.wait(begun, state="aborted")
    assert stage.ledger(begun, record.run).causes == {"dropped:aborted": 10}, "its video was read to the end"
    assert stage.redis("XLEN", Keys().frames(begun)) == 0


async def _run_with_frames(redis: Redis, keys: Keys, *, offered: int) -> Run:
    run = await Run.begin(redis, "jump-1", lane="every-frame", keys=keys, token="key")
    for seq in range(offered):
        await run.offer(frames.frame(run, seq))
    return run


async def _ledger(redis: Redis, keys: Keys, run: Run) -> Ledger:
    ledger = await read_ledger(redis, run.camera, run.number, keys=keys)
    assert ledger is not None
    return ledger


@pytest.mark.parametrize("is_over", [False, True])
async def test_what_a_worker_holds_is_left_to_it(redis: Redis, keys: Keys, is_over: bool) -> None:
    """Also where the run has ended already: the video had been read, or whoever ended it died just then."""
    run = await _run_with_frames(redis, keys, offered=50)
    worker = GroupConsumer(redis, "worker", keys=keys)
    held = await worker.take(["jump-1"], 3)
    if is_over:
        await run.finish()
    assert await end_run(redis, "jump-1", "key", "aborted", keys=keys) == 47
    ledger = await _ledger(redis, keys, run)
    assert (ledger.state, ledger.in_flight, ledger.causes) == ("ended", 3, {"dropped:aborted": 47})
    assert await worker.renew(held) == [True, True, True]
    assert await end_run(redis, "jump-1", "key", "aborted", keys=keys) == 0, "again does nothing"


async def test_only_the_run_of_the_key_is_ended(redis: Redis, keys: Keys) -> None:
    run = await _run_with_frames(redis, keys, offered=5)
    assert await end_run(redis, "jump-1", "other", "aborted", keys=keys) == 0
    ledger = await _ledger(redis, keys, run)
    assert (ledger.state, ledger.waiting) == ("open", 5)
