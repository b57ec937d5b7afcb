"""`kinestream demo`: the whole pipeline with one command, a worker that is killed, and the files afterwards.

Not for: what the commands that it starts promise by themselves.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from films import write_film
from kinestream.testcard import TestCard
from kinestream.video import read_video
from pipeline import TIMEOUT_S, Command, counts, records_of, run, seqs

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

ENDLESS = "testcard://?athletes=2&fps=5&size=640x360&loop=1"

FRAMES, FPS = 30, 15


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a test card."""
    card = TestCard(width=640, height=360, seconds=FRAMES / FPS, fps=FPS)
    times_s = [card.frame_time(number) for number in range(FRAMES)]
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", card, times_s)


def test_the_demo(place: Path, tmp_path: Path) -> None:
    output = tmp_path / "demo"
    done = run("demo", "-o", output)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    check_commands([shlex.split(line, comments=True) for line in lines if line.startswith("$ ")])
    assert "worker ended with exit code -9, another one takes over" in lines
    live, complete = check_files(output, done.stdout)
    assert live.keys() <= {"ok", "dropped", "stale"} and live["ok"] > 0
    assert complete == {"ok": 360}, "the camera that waits loses nothing"
    workers = {record.worker for record in records_of(output / "results.jsonl") if record.worker}
    assert len(workers) == 2
    check_video(output / "annotated.mp4", seconds=10.0)
    check_nothing_lies_about(place)


def check_commands(typed: list[list[str]]) -> None:
    """What is shown is what was started, each command so that it can be typed."""
    assert [words[1] for words in typed if words[1] == "kill"] == ["kill"]
    shown = [words[3:] for words in typed if words[1].startswith("KINESTREAM_REDIS_URL=unix://")]
    assert len(shown) == len(typed) - 1
    assert all(words[2] == "kinestream" for words in typed if words[1] != "kill")
    assert [words[0] for words in shown] == ["worker", "record", "ingest", "ingest", "worker"]
    assert shown[0] == shown[-1]
    assert [words[words.index("--lane") + 1] for words in shown[2:4]] == ["live", "every-frame"]
    assert all("fps=30" in words[1] for words in shown[2:4])


def check_files(output: Path, said: str) -> list[Counter[str]]:
    """The files are whole and agree with the summary; return each camera's frames by status."""
    assert {path.name for path in output.iterdir()} == {"annotated.mp4", "results.jsonl"}
    assert f"{output}/annotated.mp4  " in said and f"{output}/results.jsonl  " in said
    records = records_of(output / "results.jsonl")
    summary = said[said.index("What became of every frame:") :].splitlines()[1:3]
    counted = []
    for camera, line in zip(("camera-1", "camera-2"), summary, strict=True):
        own = [record for record in records if record.camera == camera]
        (frames,) = [record.seq for record in own if record.status == "end"]
        assert Counter(seqs(own)) == Counter(range(frames)), f"{camera}: one record for every frame"
        total, _, causes = line.removeprefix(f"  {camera}: ").partition(" (balanced")
        assert causes, line
        found = re.findall(r"(\d+) (produced|ok|dropped|stale|failed|lost|in flight)\b", total)
        terms = Counter({name: int(number) for number, name in found})
        assert +terms == Counter({"produced": frames}) + counts(own), "no term is left over, none is missing"
        counted.append(counts(own))
    return counted


def check_video(path: Path, *, seconds: float) -> None:
    """It can be played to its end, at a constant rate, and lasts for so long at least."""
    times = [frame.media_time_s for frame in read_video(path)]  # raises if it is damaged
    assert np.diff(times) == pytest.approx(1 / 30, abs=1e-4)
    assert times[-1] >= seconds


def check_nothing_lies_about(place: Path) -> None:
    """Of processes the fixture takes care; of the server's place only the lock and the log are left."""
    assert {path.name for path in place.iterdir()} <= {"lock", "redis.log"}


def test_a_second_demo_while_the_first_runs_and_ctrl_c(place: Path, tmp_path: Path, film: Path) -> None:
    first = tmp_path / "first"
    with Command(
        tmp_path / "said.txt", "demo", "--source", ENDLESS, "--source", ENDLESS, "-o", first
    ) as demo:
        demo.wait_to_say(" begins, ", times=2)
        second = run("demo", "--source", film, "--source", film, "-o", tmp_path / "second")
        assert second.returncode == 0, second.stdout + second.stderr
        assert f"unix://{place}/private-" in second.stdout and f"unix://{place}/redis.sock" in demo.said
        played, read = check_files(tmp_path / "second", second.stdout)
        assert sum(played.values()) == FRAMES, "a file has all its frames, also where some are dropped"
        assert read == {"ok": FRAMES}
        check_video(tmp_path / "second" / "annotated.mp4", seconds=0.9 * FRAMES / FPS)
        assert demo.runs
        demo.signal(signal.SIGINT)
        assert demo.wait() == 0, demo.said
    assert "Traceback" not in demo.said
    live, complete = check_files(first, demo.said)
    assert live["ok"] > 0 and set(complete) == {"ok"}
    check_video(first / "annotated.mp4", seconds=0.5)
    check_nothing_lies_about(place)


def test_ctrl_c_before_anything_has_begun(place: Path, tmp_path: Path) -> None:
    with Command(tmp_path / "said.txt", "demo", "-o", tmp_path / "demo") as demo:
        demo.wait_to_say("\n$ ")
        demo.signal(signal.SIGINT)
        assert demo.wait() == 0, demo.said
    assert "Traceback" not in demo.said
    check_nothing_lies_about(place)


def test_a_second_ctrl_c_does_not_wait_for_the_worker(place: Path, tmp_path: Path) -> None:
    output = tmp_path / "demo"
    with Command(tmp_path / "said.txt", "demo", "--source", ENDLESS, "-o", output) as demo:
        demo.wait_until(lambda: any(output.glob(".annotated*")), "pictures to be recorded")
        demo.child("worker").suspend()
        demo.signal(signal.SIGINT)
        demo.wait_to_say("SIGINT: stopping; once more stops at once")
        demo.signal(signal.SIGINT)
        assert demo.wait() == 130, demo.said
    assert "worker does not end and is killed" in demo.said
    assert "Traceback" not in demo.said
    assert {path.name for path in output.iterdir()} == {"annotated.mp4", "results.jsonl"}
    check_video(output / "annotated.mp4", seconds=0.0)
    check_nothing_lies_about(place)


@pytest.mark.parametrize(
    ("options", "who"), [(["--source", "nowhere.mp4"], "camera-1"), (["--model", "nowhere.onnx"], "worker")]
)
def test_what_a_child_refuses_is_a_mistake(place: Path, tmp_path: Path, options: list[str], who: str) -> None:
    done = run("demo", *options, "-o", tmp_path / "demo")
    assert done.returncode == 2, done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == f"kinestream demo: {who} could not be started (see its line above)"
    assert f"{who} | kinestream " in done.stdout and options[1] in done.stdout
    assert "Traceback" not in done.stdout
    check_nothing_lies_about(place)
