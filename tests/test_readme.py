"""The README's commands and programs run as they are printed there. Not for: what each does in detail."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kinestream.testcard import TestCard
from kinestream.video import VideoWriter
from kinestream_workers.graphs import graph_path
from kinestream_workers.zoo import zoo_model
from servers import Server
from waiting import wait_until_sync

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NODE_MODULES = ROOT / "tests" / "node" / "node_modules"
BIN = Path(sys.executable).parent


def block(language: str, containing: str) -> str:
    """The one code block of the README in this language that contains this text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a user who has just installed Kinestream and has no server."""
    runtime = Path(f"/tmp/ks-readme-{os.getpid()}")  # the path of a socket must be short
    yield {
        **{name: value for name, value in os.environ.items() if not name.startswith("KINESTREAM_")},
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "KINESTREAM_RUNTIME_DIR": str(runtime),
        "KINESTREAM_OFFLINE": "1",  # a test downloads nothing,
        "KINESTREAM_MODELS": str(tmp_path / "models"),  # and meets nothing that was downloaded before
    }
    shutil.rmtree(runtime, ignore_errors=True)


def run(script: str, cwd: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = block("bash", "make demo").split("\n")[:-1]
    assert commands == ["make demo", "make test"]
    for command in commands:
        assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.M)


def test_two_cameras_and_three_workers(
    tmp_path: Path, environment: dict[str, str], nothing_left: Callable[[], list[int]]
) -> None:
    shown = run(block("bash", "--camera left"), tmp_path, environment)
    lines = shown.splitlines()
    records = [line for line in lines if line.startswith("{")]
    assert len(records) == 100
    assert {camera for camera in ("left", "right") if any(f'"{camera}"' in line for line in records)} == {
        "left",
        "right",
    }
    assert re.search(r"^left +live .*\nright +every-frame .*\n", shown, re.M)
    assert "\nbalanced: every frame" in shown


def test_a_video_in_full(tmp_path: Path, environment: dict[str, str]) -> None:
    """RTMO's place in the cache is taken by a graph that reads what is in this film."""
    cache = Path(environment["KINESTREAM_MODELS"])
    cache.mkdir()
    shutil.copy(graph_path("testcard-dynamic"), cache / zoo_model("rtmo-s").file)
    card = TestCard.parse("testcard://?athletes=1&motion=jump&size=640x360")
    with VideoWriter(tmp_path / "jump.mp4", 640, 360) as video:
        for frame in range(12):
            video.write(card.draw(frame / 30), frame / 30)
    run(block("bash", "kinestream process"), tmp_path, environment)
    assert len((tmp_path / "jump" / "poses.jsonl").read_text().splitlines()) == 12
    assert (tmp_path / "jump" / "annotated.mp4").stat().st_size > 0


def test_a_model_by_path(tmp_path: Path, environment: dict[str, str], redis_url: str) -> None:
    shutil.copy(graph_path("testcard-dynamic"), tmp_path / "rtmo-s.onnx")
    with subprocess.Popen(
        ["bash", "-c", "exec " + block("bash", "rtmo-s.onnx --device").splitlines()[-1]],
        cwd=tmp_path,
        env={**environment, "KINESTREAM_REDIS_URL": redis_url},
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stderr is not None
        assert "rtmo-s" in worker.stderr.readline()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0


@pytest.fixture
def tcp_url(own_server: Callable[..., Server]) -> str:
    """A server on a TCP port of the loopback interface, for clients that know no unix sockets."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own_server(options=["--port", str(port), "--bind", "127.0.0.1"])
    return f"redis://127.0.0.1:{port}"


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_subscribers_print_every_result(
    language: str, tmp_path: Path, environment: dict[str, str], tcp_url: str
) -> None:
    environment = {**environment, "KINESTREAM_REDIS_URL": tcp_url, "PYTHONUNBUFFERED": "1"}
    if language == "python":
        program = tmp_path / "subscriber.py"
        command = [sys.executable, str(program)]
    else:
        if not (NODE_MODULES / "ioredis").is_dir() or shutil.which("node") is None:
            pytest.skip(f"needs node and {NODE_MODULES}: npm install --prefix tests/node --no-package-lock")
        program = tmp_path / "subscriber.mjs"
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
        command = ["node", str(program)]
    program.write_text(block(language, "KINESTREAM_REDIS_URL"), encoding="utf-8")
    printed = tmp_path / "printed"
    with printed.open("w") as output, subprocess.Popen(command, env=environment, stdout=output) as subscriber:
        try:
            # A camera that runs until both sides were seen: the subscriber begins with whatever comes next.
            with (
                _kinestream(["worker", "--model", "testcard"], environment),
                _kinestream(_CAMERA, environment),
            ):
                wait_until_sync(lambda: len(printed.read_text().splitlines()) >= 20, "20 printed results")
        finally:
            subscriber.kill()
    lines = [line.split() for line in printed.read_text().splitlines()[:20]]
    seqs = [int(seq) for camera, _, seq, status, people in lines if (camera, status) == ("left", "ok")]
    assert len(seqs) == 20
    assert len(set(seqs)) == 20
    assert {people for *_, people in lines} == {"2"}


_CAMERA = [
    "ingest",
    "testcard://?athletes=2&motion=squat&size=640x360",
    "--camera",
    "left",
    "--lane",
    "every-frame",
]


def _kinestream(arguments: list[str], environment: dict[str, str]) -> _Ended:
    return _Ended(
        subprocess.Popen([BIN / "kinestream", *arguments], env=environment, stderr=subprocess.DEVNULL)
    )


class _Ended:
    """A process that is told to end on the way out."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
