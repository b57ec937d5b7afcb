"""`kinestream producer` as a process, and docs/cameras.md as it is printed there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from kinestream.cameraspec import CameraSpec
from kinestream.camerastate import camera_states
from kinestream.ledger import read_ledgers
from kinestream.redis import connect
from kinestream.wanted import want_camera
from servers import Server
from waiting import wait_until

DOCS = (Path(__file__).parent.parent / "docs" / "cameras.md").read_text(encoding="utf-8")
_CARD = "testcard://?athletes=1&size=160x160&fps=5&loop=1"


def _producer(url: str, name: str, *words: str, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kinestream", "producer", "--name", name, "--redis", url, *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | variables
    )


async def test_what_a_killed_one_served_is_taken_over_by_another(
    nothing_left: Callable[[], list[int]], own_server: Callable[..., Server]
) -> None:
    url = own_server().url
    first = _producer(url, "first")
    try:
        async with connect(url) as redis:

            async def served_by(name: str) -> bool:
                states = await camera_states(redis, ["card"])
                return "card" in states and (states["card"].state, states["card"].producer) == ("live", name)

            await want_camera(redis, CameraSpec(name="card", source=_CARD))
            await wait_until(lambda: served_by("first"), "the first producer to serve it")
            (run,) = await read_ledgers(redis)
            second = _producer(url, "second", "--max-cameras", "1")
            try:
                first.kill()
                await wait_until(lambda: served_by("second"), "the second one to take over", timeout=60)
                (later,) = await read_ledgers(redis)
                assert later.run > run.run
                second.send_signal(signal.SIGTERM)
                assert second.wait(30) == 0
                (ended,) = await read_ledgers(redis)
                assert (ended.run, ended.state) == (later.run, "ended")
                assert ended.balanced
                assert await camera_states(redis, ["card"]) == {}
            finally:
                second.kill()
                second.communicate()
    finally:
        first.kill()
        first.communicate()


async def test_a_password_is_seen_nowhere(
    nothing_left: Callable[[], list[int]], own_server: Callable[..., Server]
) -> None:
    url = own_server().url
    producer = _producer(url, "hall", DOOR="hunter2/x")
    try:
        async with connect(url) as redis:
            source = "rtsp://viewer:${DOOR}@127.0.0.1:1/x"
            await want_camera(redis, CameraSpec(name="door", source=source))

            async def is_away() -> bool:
                states = await camera_states(redis, ["door"])
                return "door" in states and states["door"].state == "offline"

            await wait_until(is_away, "it to be told that nobody answers")
            assert "connection refused" in (await camera_states(redis, ["door"]))["door"].error
            everything = b""
            async for key in redis.scan_iter():
                everything += key + (await redis.dump(key) or b"")
            assert b"hunter2" not in everything
            assert not any("hunter2" in word for word in psutil.Process(producer.pid).cmdline())
    finally:
        producer.send_signal(signal.SIGTERM)
        output, _ = producer.communicate(timeout=30)
    assert "door: away: cannot watch rtsp://127.0.0.1:1/x: connection refused" in output
    assert "hunter2" not in output


def test_the_commands_of_the_docs(place: Path, tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", DOCS, re.S)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KINESTREAM_RUNTIME_DIR": str(place),
    }
    script = script.replace(
        "sleep 3\n",
        "for i in $(seq 60); do sleep 0.5; kinestream camera list > l; "
        'grep -q "hall: live" l && grep -q "gate: live" l && break; done\n',
    )
    script += "\nkill $(jobs -p | tail -n +2); wait $(jobs -p | tail -n +2); kill $(jobs -p); wait"
    done = subprocess.run(
        ["bash", "-u", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert "hall: live  testcard://?motion=walk&size=320x180  max_fps=10.0" in done.stdout, done.stderr
    assert re.search(r"^gate +live ", done.stdout, re.M)
    for line in ("gate: paused", "gate: resumed", "hall: removed", "gate: removed"):
        assert line in done.stdout.splitlines(), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--name", "a b"], "kinestream producer: a producer's name is 1 to 64 of"),
        (["--max-cameras", "0"], "Invalid value for '--max-cameras'"),
    ],
)
def test_wrong_calls(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    from kinestream.cli import run

    assert run(["producer", *words]) == 2
    assert error in capsys.readouterr().err
