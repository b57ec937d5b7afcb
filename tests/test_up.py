"""`kinestream up` with real processes: the example of docs/up.md, children that die, a Redis that is away,
Ctrl-C.

Not for: what is wrong in a file (see `test_up_plan.py`).
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis as sync_redis

from kinestream.keys import Keys
from kinestream.messages import PoseResult
from kinestream.video import VideoWriter
from pipeline import Command, records_of, run
from servers import Server
from waiting import wait_until_sync

PAGE = Path(__file__).parent.parent / "docs" / "up.md"
SMALL = "cameras: {court: 'testcard://?athletes=1&size=320x180&fps=10&loop=1'}\nworkers: {model: testcard}\n"


def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def results(url: str) -> list[PoseResult]:
    """All records that are kept; none while there is no server."""
    try:
        with sync_redis.Redis.from_url(url) as client:
            entries = client.xrange(Keys().results)
    except sync_redis.ConnectionError:
        return []
    return [PoseResult.unpack(fields[b"result"]) for _, fields in entries]


def with_poses(url: str) -> set[str]:
    """The cameras that have results with poses."""
    return {one.camera for one in results(url) if one.status == "ok"}


def own_url(place: Path) -> str:
    return f"unix://{place}/redis.sock"


def up(folder: Path, text: str, *words: str, name: str = "cameras.yaml") -> Command:
    (folder / name).write_text(text)
    return Command(folder / "up.txt", *words, "up", folder / name)


def test_the_example_runs_as_it_stands(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: Callable[[], list[int]]
) -> None:
    monkeypatch.setenv("GYM_PASSWORD", "hunter2")
    with VideoWriter(tmp_path / "jump.mp4", 64, 48) as writer:
        for number in range(12):
            writer.write(np.full((48, 64, 3), 20 * number, np.uint8), number / 10)
    # No camera of this name answers, wherever this runs: it is offline, and holds up nobody.
    text = example().replace("192.168.1.20", "127.0.0.1:9")
    assert text != example()
    with up(tmp_path, text) as running:
        running.wait_until(
            lambda: (
                {"court", "yesterday"}
                <= {one.camera for one in results(own_url(place)) if one.status == "ok"}
            ),
            "both cameras have results",
        )
        running.wait_until(lambda: "gym: away" in running.said, "the third one is away")
        running.wait_until(
            lambda: any(one.camera == "yesterday" and one.status == "end" for one in results(own_url(place))),
            "the film is over",
        )
        status = run("status").stdout
        assert "up-cameras-" in status
        assert "balanced" in status
        shown = run("camera", "list").stdout
        assert "${GYM_PASSWORD}" in shown
        running.signal(signal.SIGINT)
        assert running.wait() == 0
    assert nothing_left() == []
    assert "hunter2" not in running.said + shown + status
    ends = [line.split(" | ")[0].strip() for line in running.lines if "SIGTERM: stopping" in line]
    assert ends[0] == "cameras"
    assert sorted(ends[1:3]) == ["worker-1", "worker-2"]
    assert ends[3:] == ["record-match", "jobs", "redis"]
    (recording,) = (tmp_path / "recordings").iterdir()
    records = records_of(recording / "results.jsonl")
    of_court = [one for one in records if one.camera == "court"]
    (end,) = [one for one in of_court if one.status == "end"]
    assert sum(one.frames for one in of_court) == end.seq > 0, "what was taken was inferred and recorded"
    of_film = [one.seq for one in records if one.camera == "yesterday" and one.status == "ok"]
    assert sorted(of_film) == [*range(6)]
    assert (tmp_path / "results-of-jobs").is_dir()


def test_whatever_dies_is_started_again(place: Path, tmp_path: Path) -> None:
    with up(tmp_path, SMALL) as running:
        for word, name in (("worker", "worker-1"), ("producer", "cameras"), ("redis", "redis")):
            running.wait_until(lambda: with_poses(own_url(place)), "there are results")
            running.child(word).kill()
            running.wait_to_say(f"{name} ended by signal 9, and is started again")
            with sync_redis.Redis.from_url(own_url(place)) as client:
                wait_until_sync(lambda it=client: _emptied(it), "an empty stream of results")
        running.wait_until(lambda: with_poses(own_url(place)), "there are results again")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
    assert running.said.count("$ ") == 6


def _emptied(client: sync_redis.Redis) -> bool:
    """Forget the results so far; false while the server is away."""
    try:
        client.delete(Keys().results)
    except sync_redis.ConnectionError:
        return False
    return True


def test_a_kill_9_of_up_ends_all_parts(
    place: Path, tmp_path: Path, nothing_left: Callable[[], list[int]]
) -> None:
    with up(tmp_path, SMALL) as running:
        running.wait_to_say("ms a batch")
        assert len(nothing_left()) == 5, "up, redis and its server, a worker, a producer"
        running.signal(signal.SIGKILL)
        running.wait()
        wait_until_sync(lambda: not nothing_left(), "all parts to end")


def test_a_redis_that_is_away_is_waited_for(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    server.kill()
    text = f"""
redis: {server.url}
cameras:
  court:
    source: testcard://?athletes=1&size=320x180&fps=10&loop=1
    rotate: 90
    region: 0%,50%,100%,50%
    priority: 5
    max_age_ms: 9000
workers: {{model: testcard}}
"""
    with up(tmp_path, text) as running:
        running.wait_to_say("Redis is away while starting, waiting for it")
        assert "$ " not in running.said, "nothing is started without it"
        server.start()
        running.wait_until(lambda: with_poses(server.url), "there are results")
        running.signal(signal.SIGINT)
        assert running.wait() == 0
    assert {(one.width, one.height) for one in results(server.url) if one.status == "ok"} == {(180, 320)}
    with sync_redis.Redis.from_url(server.url) as client:
        run_of = int(client.hget(Keys().cameras, "court") or 0)
        assert client.hmget(Keys().ledger("court", run_of), "priority", "max_age_ms") == [b"5", b"9000"]
    assert run("camera", "list", "--redis", server.url).stdout.count("court") == 0, "it is wanted no more"


def test_told_to_stop_while_redis_is_away(own_server: Callable[..., Server], tmp_path: Path) -> None:
    server = own_server()
    server.kill()
    with up(tmp_path, f"redis: {server.url}\n{SMALL}") as running:
        running.wait_to_say("Redis is away while starting, waiting for it")
        running.signal(signal.SIGINT)
        assert running.wait() == 0


def test_a_part_that_refuses_its_options_ends_everything(
    place: Path, tmp_path: Path, nothing_left: Callable[[], list[int]]
) -> None:
    with up(tmp_path, "cameras: {a: none.mp4}\nworkers: {model: no-such-model}\n") as running:
        assert running.wait() == 2
    assert "worker-1 | kinestream worker: " in running.said
    assert running.lines[-1] == "kinestream up: worker-1 could not be started (see its line above)"
    assert nothing_left() == []


def test_the_second_signal_stops_at_once(
    place: Path, tmp_path: Path, nothing_left: Callable[[], list[int]]
) -> None:
    with up(tmp_path, SMALL) as running:
        running.wait_to_say("court: served from now on")
        running.child("producer").suspend()  # so that the first one has to wait for it
        running.signal(signal.SIGINT)
        running.wait_to_say("once more stops at once")
        running.signal(signal.SIGINT)
        assert running.wait() == 130
    assert nothing_left() == []


def test_twice_at_a_time_is_refused_and_lines_can_be_json(place: Path, tmp_path: Path) -> None:
    with up(tmp_path, "workers: {model: testcard}\n", "--log-format", "json") as running:
        running.wait_to_say("ms a batch")
        second = run("up", tmp_path / "cameras.yaml")
        assert (second.returncode, second.stdout) == (2, "")
        assert "is up already: another kinestream up runs it" in second.stderr
        running.signal(signal.SIGINT)
        assert running.wait() == 0
    events = [json.loads(line) for line in running.lines]
    (engine,) = [event for event in events if "ms a batch" in event["message"]]
    assert (engine["part"], engine["level"]) == ("worker-1", "info")
