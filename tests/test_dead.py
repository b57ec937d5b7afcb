"""Dead letters: what is in them, putting them back to work, throwing them away; and the command.

Not for: how a frame becomes one (see `test_worker_trouble.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from redis.asyncio import Redis

from engines import ScriptedEngine
from frames import frame, jpeg, offer
from kinestream.deadletters import DeadLetter, purge, read_dead_letter, read_dead_letters, requeue
from kinestream.errors import DeliveryError, MessageError, UsageError
from kinestream.keys import Keys
from kinestream.ledger import read_ledger
from kinestream.redis import connect
from kinestream.run import Run
from servers import Server
from waiting import wait_until
from working import wait_for_records, working


async def letters_of(redis: Redis, keys: Keys, camera: str | None = None) -> list[DeadLetter]:
    return [letter async for letter in read_dead_letters(redis, camera=camera, keys=keys)]


async def make_dead(redis: Redis, keys: Keys, camera: str, count: int, *, data: bytes | None = None) -> Run:
    """End a run of `camera` all of whose frames, `count` of grey value 200, fail."""
    run = await Run.begin(redis, camera, lane="every-frame", keys=keys)
    for seq in range(count):
        assert await run.offer(frame(run, seq, grey=200, data=data)) == "ok"
    await run.finish()
    engine = ScriptedEngine()
    engine.poison = {200}
    before = await redis.xlen(keys.dead)

    async def all_dead() -> bool:
        return await redis.xlen(keys.dead) == before + count

    async with working(redis, keys, engine, max_attempts=2):
        await wait_until(all_dead, "every frame to be a dead letter")
    return run


async def test_a_letter_tells_all_that_is_known(redis: Redis, keys: Keys) -> None:
    run = await make_dead(redis, keys, "left", 2)
    first, second = await letters_of(redis, keys)
    assert (first.camera, first.name, first.cause) == ("left", f"{run.number}-0", "engine-failed")
    assert first.deliveries == 2 and first.worker and first.model == "scripted"
    assert first.error == "EngineError: the test said so" and "Traceback" in first.traceback
    assert first.frame() == frame(run, 0, grey=200)
    assert await read_dead_letter(redis, second.id, keys=keys) == second
    assert abs(first.died_ms - 1000 * (await redis.time())[0]) < 60_000


async def test_letters_of_one_camera_beyond_a_page(redis: Redis, keys: Keys) -> None:
    await make_dead(redis, keys, "left", 13)
    await make_dead(redis, keys, "right", 12)
    assert [letter.camera for letter in await letters_of(redis, keys)] == ["left"] * 13 + ["right"] * 12
    names = [letter.name.partition("-")[2] for letter in await letters_of(redis, keys, "right")]
    assert names == [str(seq) for seq in range(12)]


@pytest.mark.parametrize("letter_id", ["", "1", "1-", "x-0", "1-0-0", "- +", "9" * 30 + "-0"])
async def test_ids_that_are_none(redis: Redis, keys: Keys, letter_id: str) -> None:
    with pytest.raises(UsageError, match="a dead letter's id looks like"):
        await read_dead_letter(redis, letter_id, keys=keys)


async def test_a_letter_that_is_gone(redis: Redis, keys: Keys) -> None:
    with pytest.raises(UsageError, match="there is no dead letter 1-0"):
        await read_dead_letter(redis, "1-0", keys=keys)


async def test_requeued_frames_are_a_new_run_that_names_their_origin(redis: Redis, keys: Keys) -> None:
    old = await make_dead(redis, keys, "left", 3)
    letters = await letters_of(redis, keys)
    new = await requeue(redis, letters[:2], camera="left", keys=keys)
    assert new.number > old.number
    assert [letter.name for letter in await letters_of(redis, keys)] == [letters[2].name]
    async with working(redis, keys, ScriptedEngine()):
        results = await wait_for_records(redis, keys, 5)
    again = [result for result in results if result.run == new.number]
    assert [(result.seq, result.status) for result in again] == [(0, "ok"), (1, "ok")]
    assert [result.origin for result in again] == [f"left/{old.number}-0", f"left/{old.number}-1"]
    assert {result.origin for result in results if result.run == old.number} == {""}
    assert [result.media_time_s for result in again] == [0.0, 1 / 30]
    assert {result.clock for result in results} == {"camera"}
    ledger = await read_ledger(redis, "left", new.number, keys=keys)
    assert ledger is not None and ledger.balanced
    assert (ledger.state, ledger.produced, ledger.ok) == ("ended", 2, 2)


async def test_a_frame_that_fails_again_keeps_its_first_origin(redis: Redis, keys: Keys) -> None:
    old = await make_dead(redis, keys, "left", 1)
    engine = ScriptedEngine()
    engine.poison = {200}
    for camera in ("second", "third"):
        await requeue(redis, await letters_of(redis, keys), camera=camera, keys=keys)
        async with working(redis, keys, engine, max_attempts=1):
            await wait_until(lambda: redis.xlen(keys.dead), f"the letter of {camera}")
    (letter,) = await letters_of(redis, keys)
    assert (letter.camera, letter.frame().origin) == ("third", f"left/{old.number}-0")


async def test_a_camera_that_is_being_produced_is_left_alone(redis: Redis, keys: Keys) -> None:
    await make_dead(redis, keys, "left", 1)
    producing = await Run.begin(redis, "left", lane="live", keys=keys)
    letters = await letters_of(redis, keys)
    with pytest.raises(UsageError, match=r"left is being produced now .*--as NAME"):
        await requeue(redis, letters, camera="left", keys=keys)
    await offer(producing, 1)  # not fenced
    await requeue(redis, letters, camera="left-again", keys=keys)
    assert await letters_of(redis, keys) == []


async def test_whoever_begins_meanwhile_is_left_alone_too(
    redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that begins just as the run of the letters is about to."""
    await make_dead(redis, keys, "left", 1)
    letters = await letters_of(redis, keys)
    begun: list[Run] = []

    async def time() -> object:
        monkeypatch.undo()
        begun.append(await Run.begin(redis, "left", lane="live", keys=keys))
        return await redis.time()

    monkeypatch.setattr(redis, "time", time)  # asked for between the look at the camera and the script
    with pytest.raises(UsageError, match=r"left is being produced now .*--as NAME"):
        await requeue(redis, letters, camera="left", keys=keys)
    await offer(begun[0], 1)  # not fenced
    assert await letters_of(redis, keys) == letters


async def test_an_outage_is_waited_for(
    own_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_server(durable=True)
    keys = Keys()
    async with connect(server.url) as redis:
        dead = await Run.begin(redis, "dead", lane="every-frame", keys=keys)
        for seq in range(70):  # more than may wait
            entry = {"camera": "left", "name": f"1-{seq}", "frame": frame(dead, seq).pack()}
            await redis.xadd(keys.dead, entry)  # type: ignore[arg-type]
        task = asyncio.create_task(requeue(redis, await letters_of(redis, keys), camera="left", keys=keys))

        async def full() -> bool:
            return await redis.xlen(keys.frames("left")) == 64

        await wait_until(full, "the stream to be full")
        server.kill()
        await wait_until(lambda: "Redis is away while putting dead" in caplog.text, "the outage to be seen")
        server.start()
        async with working(redis, keys, ScriptedEngine()):
            run = await task
        ledger = await read_ledger(redis, "left", run.number, keys=keys)
        assert ledger is not None and (ledger.state, ledger.produced, ledger.balanced) == ("ended", 70, True)
        assert await letters_of(redis, keys) == []


async def test_a_memory_that_is_full_is_one_line_and_loses_no_letter(
    own_server: Callable[..., Server],
) -> None:
    server = own_server()
    keys = Keys()
    async with connect(server.url) as redis:
        await make_dead(redis, keys, "left", 2)
        letters = await letters_of(redis, keys)
        await redis.config_set("maxmemory", "100kb")  # less than an empty server has
        with pytest.raises(DeliveryError, match="Redis's memory is full"):
            await requeue(redis, letters, camera="left", keys=keys)
        assert await letters_of(redis, keys) == letters


async def test_garbage_cannot_be_put_back_and_nothing_is_begun(redis: Redis, keys: Keys) -> None:
    await redis.xadd(keys.dead, {"camera": "left", "name": "1-0", "frame": b"\xc1 garbage"})
    with pytest.raises(MessageError, match=r"the dead letter .* holds no frame"):
        await requeue(redis, await letters_of(redis, keys), camera="left", keys=keys)
    assert not await redis.exists(keys.cameras)
    (letter,) = await letters_of(redis, keys)
    assert (letter.deliveries, letter.error, letter.model) == (0, "", "")


async def test_it_waits_for_room_and_can_be_stopped(redis: Redis, keys: Keys) -> None:
    dead = await Run.begin(redis, "dead", lane="every-frame", keys=keys)
    for seq in range(70):  # more than may wait
        await redis.xadd(keys.dead, {"camera": "left", "name": f"1-{seq}", "frame": frame(dead, seq).pack()})
    stop = asyncio.Event()
    letters = await letters_of(redis, keys)
    task = asyncio.create_task(requeue(redis, letters, camera="left", stop=stop, keys=keys))

    async def full() -> bool:
        return await redis.xlen(keys.frames("left")) == 64

    await wait_until(full, "the stream to be full")
    stop.set()
    run = await task
    assert run.produced == 64
    assert len(await letters_of(redis, keys)) == 6
    ledger = await read_ledger(redis, "left", run.number, keys=keys)
    assert ledger is not None and (ledger.state, ledger.in_flight, ledger.balanced) == ("ended", 64, True)


async def test_purging_by_age(redis: Redis, keys: Keys) -> None:
    for died_ms in (1000, 2000, 3000):
        await redis.xadd(keys.dead, {"camera": "left"}, id=f"{died_ms}-0")
    assert await purge(redis, before_ms=2000, keys=keys) == 1
    assert [letter.id for letter in await letters_of(redis, keys)] == ["2000-0", "3000-0"]
    assert await purge(redis, before_ms=-5, keys=keys) == 0


async def test_the_command(own_server: Callable[..., Server], tmp_path: Path) -> None:
    url = own_server().url

    async def said(*arguments: str, code: int = 0) -> str:
        """What the command prints on stdout, or on stderr if it fails."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "kinestream", "dead", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "KINESTREAM_REDIS_URL": url},
        )
        out, err = await process.communicate()
        assert process.returncode == code, (out, err)
        return (err if code else out).decode()

    async with connect(url) as redis:
        assert await said("list") == "no dead letters\n"
        assert await said("list", "--camera", "left") == "no dead letters of left\n"
        run = await make_dead(redis, Keys(), "left", 3)
        await redis.xadd(
            "ks:{0}:dead", {"camera": "odd", "name": "5-7", "frame": b"garbage", "cause": "undecodable"}
        )

        lines = (await said("list", "--camera", "left")).splitlines()
        assert len(lines) == 3
        assert (
            f"left {run.number}-0" in lines[0] and "engine-failed, delivered 2 times: EngineError" in lines[0]
        )
        facts = [json.loads(line) for line in (await said("list", "--json")).splitlines()]
        assert [fact["camera"] for fact in facts] == ["left", "left", "left", "odd"]

        shown = await said("show", facts[0]["id"])
        assert "the test said so" in shown and f"picture: jpeg, 64x48 left-{run.number}-0.jpg" in shown
        assert (tmp_path / f"left-{run.number}-0.jpg").read_bytes() == jpeg(200)
        picture = cv2.imread(str(tmp_path / f"left-{run.number}-0.jpg"))
        assert np.abs(picture.astype(int) - 200).max() <= 2
        shown = await said("show", facts[3]["id"], "-o", "odd.bin")
        assert "its message is no frame" in shown and (tmp_path / "odd.bin").read_bytes() == b"garbage"

        out = await redis.xadd("ks:{0}:dead", {"camera": "../out", "name": "5-7", "frame": b"garbage"})
        assert " .._out-5-7.bin" in await said("show", out.decode())
        assert (tmp_path / ".._out-5-7.bin").exists() and not (tmp_path.parent / "out-5-7.bin").exists()
        await redis.xdel("ks:{0}:dead", out)

        assert "name the letters' ids, or --all and --camera" in await said("requeue", code=2)
        assert "name the letters' ids" in await said("requeue", "--all", code=2)
        assert "one camera at a time" in await said("requeue", facts[0]["id"], facts[3]["id"], code=2)
        for words in (["--camera", "right"], ["--camera", "rihgt", "--as", "fresh"]):
            assert f"{words[1]} has no dead letters" in await said("requeue", "--all", *words, code=2)
        assert "looks like" in await said("show", "１７９５９１１１３６７０００-０", code=2)
        assert "holds no frame" in await said("requeue", facts[3]["id"], code=1)
        twice = await said("requeue", facts[1]["id"], facts[1]["id"])
        assert twice.startswith("1 of 1 frames are queued as run ")
        again = await said("requeue", "--all", "--camera", "left", "--as", "left-again")
        assert again.startswith("2 of 2 frames are queued as run ") and again.endswith(" of left-again\n")

        assert "such as 7d, got '7 days'" in await said("purge", "--older-than", "7 days", code=2)
        assert await said("purge", "--older-than", "7d") == "0 dead letters purged\n"
        assert await said("purge", "--older-than", "0s") == "1 dead letters purged\n"
        assert await said("list") == "no dead letters\n"
