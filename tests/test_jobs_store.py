"""Whose a job is, step by step: one owner at a time, whatever is repeated or comes late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from kinestream.jobs.request import JobOptions, JobRequest
from kinestream.jobs.store import OVER, JobRecord, JobStore
from kinestream.keys import Keys
from waiting import wait_until

LEASE_S = 60.0
JOB = "jump-1"
REQUEST = JobRequest(kind="video", video="jump.mp4", options=JobOptions(every=2), version="1-2")


@pytest.fixture
def store(every_redis: Redis, keys: Keys) -> JobStore:
    return JobStore(every_redis, keys)


async def record_of(store: JobStore) -> JobRecord:
    record = await store.read(JOB)
    assert record is not None
    return record


async def let_run_out(store: JobStore) -> None:
    """The claim, as after a lease in which nobody renewed it."""
    await store.redis.delete(store.keys.job_claim(JOB))


async def test_a_job_is_read_as_it_was_handed_in(store: JobStore) -> None:
    assert await store.submit(JOB, REQUEST) == (True, "queued", 1)
    assert await store.submit(JOB, REQUEST) == (False, "queued", 1)
    record = await record_of(store)
    assert record.request == REQUEST
    assert (record.state, record.attempt, record.claims, record.done) == ("queued", 1, 0, 0)
    assert record.submitted_ms > 0 and record.started_ms == record.finished_ms == record.expires_ms == 0
    assert await store.read_all() == [record]


async def test_from_claim_to_end(store: JobStore) -> None:
    await store.submit(JOB, REQUEST)
    assert await store.claim(JOB, "me", LEASE_S) == ("ok", 1)
    assert await store.is_claimed(JOB)
    assert await store.claim(JOB, "other", LEASE_S) == ("taken", 0)
    assert await store.keep(JOB, "me", LEASE_S, {"done": 7, "total": 10, "fps": 1.5}) == "ok"
    assert (await record_of(store)).remaining_s == 2.0
    assert await store.keep(JOB, "other", LEASE_S, {"done": 99}) == "lost"
    assert not await store.settle(JOB, "other", "failed", {"error": "not mine"})
    assert await store.settle(JOB, "me", "done", {"folder": "/f"}, keep_s=100)
    record = await record_of(store)
    assert (record.state, record.done, record.folder, record.error) == ("done", 7, "/f", "")
    assert record.expires_ms - record.finished_ms == 100_000
    assert 0 < await store.redis.ttl(store.keys.job(JOB)) <= 100
    assert await store.claim(JOB, "other", LEASE_S) == ("over", 0)
    assert await store.keep(JOB, "me", LEASE_S, {"done": 8}) == "lost"
    assert await store.retry(JOB) == ("done", 0) and await store.abort(JOB) == "done"


async def test_a_claim_that_ran_out_is_anothers_and_the_old_owner_is_told(store: JobStore) -> None:
    await store.submit(JOB, REQUEST)
    await store.claim(JOB, "frozen", 0.001)
    await wait_until(lambda: _free(store), "the claim to run out")
    assert await store.claim(JOB, "next", LEASE_S) == ("ok", 2)
    assert await store.keep(JOB, "frozen", LEASE_S, {"done": 99}) == "lost"
    assert not await store.settle(JOB, "frozen", "queued", {})
    assert not await store.settle(JOB, "frozen", "done", {"folder": "/wrong"})
    record = await record_of(store)
    assert (record.owner, record.state, record.done, record.folder) == ("next", "running", 0, "")


async def _free(store: JobStore) -> bool:
    return not await store.is_claimed(JOB)


async def test_a_claim_that_ran_out_is_kept_by_its_owner_if_nobody_came(store: JobStore) -> None:
    await store.submit(JOB, REQUEST)
    await store.claim(JOB, "me", LEASE_S)
    await let_run_out(store)
    assert await store.keep(JOB, "me", LEASE_S, {}) == "ok"
    assert await store.claim(JOB, "other", LEASE_S) == ("taken", 0)


async def test_every_call_may_be_repeated_after_a_lost_reply(store: JobStore) -> None:
    await store.submit(JOB, REQUEST)
    for _ in range(2):
        assert await store.claim(JOB, "me", LEASE_S) == ("ok", 1)
    for _ in range(2):
        assert await store.settle(JOB, "me", "queued", {"done": 3})
    for _ in range(2):
        assert await store.claim(JOB, "next", LEASE_S) == ("ok", 2)
    assert not await store.settle(JOB, "me", "queued", {}), "by now it is somebody else's"
    for _ in range(2):
        assert await store.settle(JOB, "next", "failed", {"error": "why"})
    assert await store.retry(JOB) == ("again", 2)
    assert await store.retry(JOB) == ("again", 2)
    assert not await store.settle(JOB, "next", "failed", {"error": "late"})
    assert (await record_of(store)).state == "queued"
    for _ in range(2):
        assert await store.abort(JOB) == "aborted"


async def test_a_submit_whose_reply_got_lost_is_still_the_one_that_made_it(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kinestream.jobs.store.secrets.token_hex", lambda _: "one call")
    assert await store.submit(JOB, REQUEST) == (True, "queued", 1)
    assert await store.submit(JOB, REQUEST) == (True, "queued", 1)


async def test_abort_and_retry(store: JobStore) -> None:
    assert await store.abort(JOB) == "gone" and await store.retry(JOB) == ("gone", 0)
    await store.submit(JOB, REQUEST)
    await store.claim(JOB, "me", LEASE_S)
    assert await store.retry(JOB) == ("runs", 0)
    assert await store.abort(JOB) == "asked"
    assert await store.keep(JOB, "me", LEASE_S, {}) == "abort"
    await let_run_out(store)
    assert await store.retry(JOB) == ("goes-on", 1)
    await store.claim(JOB, "next", LEASE_S)
    assert await store.keep(JOB, "next", LEASE_S, {"done": 5, "cursor": "c", "found": "{}"}) == "ok"
    await store.settle(JOB, "next", "aborted", {"error": "aborted"})
    assert await store.retry(JOB) == ("again", 2)
    record = await record_of(store)
    assert (record.state, record.attempt, record.claims, record.error) == ("queued", 2, 0, "")
    assert (record.done, record.cursor, record.found, record.owner, record.expires_ms) == (0, "", "", "", 0)
    assert await store.redis.ttl(store.keys.job(JOB)) == -1
    assert await store.abort(JOB) == "aborted"
    record = await record_of(store)
    assert record.expires_ms > record.finished_ms > 0 and record.error == "aborted before it was begun"


async def test_what_has_expired_is_forgotten_and_what_cannot_be_read_is_left_out(store: JobStore) -> None:
    for number in range(3):
        await store.submit(f"jump-{number}", REQUEST)
    await store.redis.delete(store.keys.job("jump-0"))
    changes: Any = {"options": '{"outputs": ["hologram"]}'}
    await store.redis.hset(store.keys.job("jump-1"), mapping=changes)  # type: ignore[misc]
    assert [record.id for record in await store.read_all()] == ["jump-2"]
    assert await store.redis.zrange(store.keys.jobs, 0, -1) == [b"jump-1", b"jump-2"]


async def test_without_memory_a_job_can_end_but_not_begin(own_server: Any, keys: Keys) -> None:
    from kinestream.redis import connect

    async with connect(own_server().url) as redis:
        store = JobStore(redis, keys)
        await store.submit(JOB, REQUEST)
        await store.claim(JOB, "me", LEASE_S)
        await redis.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await store.submit("jump-2", REQUEST)
        with pytest.raises(OutOfMemoryError):
            await store.keep(JOB, "me", LEASE_S, {"done": 1})
        assert await store.settle(JOB, "me", "failed", {"error": "why"})
        assert (await record_of(store)).state == "failed"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "keep", "queued", "done", "failed", "run-out", "abort", "retry"]),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_a_job_has_one_owner_whatever_happens(steps: list[tuple[str, str]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, str]]) -> None:
    """`owner` claimed it last, and may tell and settle until the next one claims, or it is over."""
    redis = FakeAsyncRedis()
    store = JobStore(redis)
    await store.submit(JOB, REQUEST)
    state, owner, held, attempt, claims = "queued", "", False, 1, 0
    for number, (step, who) in enumerate(steps):
        if step == "claim":
            name = f"{who}{number}"
            reply, _ = await store.claim(JOB, name, LEASE_S)
            assert reply == ("over" if state in OVER else "taken" if held else "ok")
            if reply == "ok":
                state, owner, held, claims = "running", name, True, claims + 1
        elif step == "keep":
            mine = who == owner[:1] and state == "running"
            reply = await store.keep(JOB, owner if who == owner[:1] else who, LEASE_S, {"done": number})
            assert (reply != "lost") == mine
            held = held or mine
        elif step in ("queued", "done", "failed"):
            mine = who == owner[:1] and state == "running"
            settled = await store.settle(JOB, owner if mine else who, step, {})  # type: ignore[arg-type]
            assert settled == mine
            if mine:
                state, held = step, False
        elif step == "run-out":
            await let_run_out(store)
            held = False
        elif step == "abort":
            reply = await store.abort(JOB)
            expected = state if state in OVER else "aborted" if not claims else "asked"
            assert reply == expected
            state = "aborted" if reply == "aborted" and not claims else state
        else:
            reply, _ = await store.retry(JOB)
            if state in ("failed", "aborted"):
                assert reply == "again"
                state, owner, attempt, claims = "queued", "", attempt + 1, 0
        record = await record_of(store)
        assert (record.state, record.attempt, record.claims) == (state, attempt, claims)
        assert await store.is_claimed(JOB) == held
    await redis.aclose()
