"""What `kinestream chaos` gathers: torn logs, ledgers, leftovers, and processes that end by themselves.

Not for: judging it (see `test_chaos_verdict.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from redis.asyncio import Redis

from frames import offer
from kinestream.chaos.actors import Actor, Process, identify, is_alive, resident_bytes, until
from kinestream.chaos.evidence import (
    Reading,
    WatchLogs,
    all_ledgers,
    leftover_holds,
    long_gone_consumers,
    whole_lines,
)
from kinestream.groupconsumer import GroupConsumer
from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.run import Run
from waiting import wait_until_sync


def line(seq: int) -> str:
    record = PoseResult(camera="gate", run=1, seq=seq, status="dropped", cause="no-room")
    return json.dumps({**record.as_dict(), "committed_ms": 1000 + seq, "cursor": f"cursor-{seq}"})


def test_a_killed_subscriber_goes_on_from_its_last_whole_line(tmp_path: Path) -> None:
    logs = WatchLogs()
    first, second, third = (tmp_path / f"watch.{life}.log" for life in (1, 2, 3))
    assert logs.words(first)[-1] == "beginning"
    first.write_text(f"12:00 WARNING redis  Redis is away\n{line(0)}\n{line(1)}\n{line(2)[:50]}")
    assert logs.words(second)[-1] == "cursor-1"
    second.write_text(line(2)[:20])
    assert logs.words(third)[-1] == "cursor-1"
    third.write_text(f"{line(2)}\n")
    assert [(told.seq, told.committed_ms) for told in logs.reading().told] == [
        (0, 1000),
        (1, 1001),
        (2, 1002),
    ]


def test_ends_that_a_killed_subscriber_was_told(tmp_path: Path) -> None:
    logs = WatchLogs()
    for life in (1, 2):
        log = tmp_path / f"watch.{life}.log"
        logs.words(log)
        end = PoseResult(camera="gate", run=life, seq=3, status="end", cause="stopped")
        log.write_text(
            f"{line(0)}\n{json.dumps({**end.as_dict(), 'cursor': 'c'})}{'' if life == 2 else chr(10)}"
        )
    assert logs.ends() == {("gate", 1)}


def test_a_line_is_whole_once_its_end_is_there() -> None:
    assert whole_lines('{"a": 1}\n{"b": 2}') == ['{"a": 1}']
    assert whole_lines("") == []


def test_a_reading_counts_ends_and_poses() -> None:
    reading = Reading()
    reading.add(PoseResult(camera="gate", run=1, seq=0, status="ok"))
    reading.add(PoseResult(camera="gate", run=1, seq=1, status="end"))
    assert (reading.ok, reading.ends, len(reading.told)) == ({"gate": 1}, {("gate", 1)}, 2)


async def test_every_run_has_its_ledger_and_what_is_left_is_seen(redis: Redis, keys: Keys) -> None:
    first = await Run.begin(redis, "gate", lane="every-frame", keys=keys)
    second = await Run.begin(redis, "gate", lane="every-frame", keys=keys)
    other = await Run.begin(redis, "hall.2", lane="live", keys=keys)
    found = [(ledger.camera, ledger.run, ledger.state) for ledger in await all_ledgers(redis, keys)]
    assert found == [
        ("gate", first.number, "ended"),
        ("gate", second.number, "open"),
        ("hall.2", other.number, "open"),
    ]
    await offer(second, 2)
    worker = GroupConsumer(redis, "gone", keys=keys)
    (held,) = await worker.take(["gate", "hall.2"], 1)
    assert await leftover_holds(redis, keys, ["gate", "hall.2"]) == [
        "gate still has 2 frames in its stream, 1 of them pending"
    ]
    cameras = ["gate", "hall.2"]
    assert await long_gone_consumers(redis, keys, cameras, 60_000) == []
    await worker.hand_back([held], counted=False)
    await asyncio.sleep(0.01)
    (told,) = await long_gone_consumers(redis, keys, ["gate"], 1)
    assert told == "the group of gate still has gone, which is gone for 0 s"


def actor(folder: Path, place: Path, *words: str) -> Actor:
    def arguments(life: int) -> Sequence[str]:
        return words

    environment = {"KINESTREAM_RUNTIME_DIR": str(place)}
    return Actor(
        "server",
        "redis",
        arguments,
        ready="Redis is ready",
        folder=folder,
        environment=environment,
        say=lambda said: None,
    )


async def test_a_process_that_ends_by_itself_is_told_and_started_again(place: Path, tmp_path: Path) -> None:
    server = actor(tmp_path, place, "redis")
    server.start()
    try:
        await server.until_ready()
        first = server.child
        assert server.look_after() is None
        assert is_alive(server.processes[0]) and resident_bytes(first.pid) > 2**20
        server.send(signal.SIGKILL)
        await until(lambda: first.exit_code is not None, 20, "it to end")
        assert not is_alive(server.processes[0]) and resident_bytes(first.pid) == 0
        told = server.look_after()
        assert told is not None and told.startswith("server ended by itself with exit code -9: ")
        await server.until_ready()
        assert [process.pid for process in server.processes] == [first.pid, server.child.pid]
        server.absent = True
        server.send(signal.SIGTERM)
        await until(lambda: server.child.exit_code is not None, 20, "it to end")
        assert server.look_after() is None and len(server.processes) == 2
    finally:
        server.child.stop()


def test_an_id_that_is_used_again_is_another_process() -> None:
    me = identify(os.getpid())
    assert is_alive(me)
    assert not is_alive(Process(me.pid, me.started + 1))


def test_a_process_that_cannot_begin_yet_is_started_again_in_silence(place: Path, tmp_path: Path) -> None:
    status = actor(tmp_path, place, "status")  # no Redis is running
    status.start()
    told = None
    for _ in range(2):
        wait_until_sync(lambda: status.child.exit_code is not None, "it to end")
        told = status.look_after()
        assert told is None
    status.child.kill()
    assert len(status.processes) == 3
