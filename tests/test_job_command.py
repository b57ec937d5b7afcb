"""`kinestream job`: what it says, how it ends, and what it leaves alone.

Not for: what becomes of the jobs (see `test_jobs.py`).
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobbing import Yard, seqs_of, yard
from pipeline import KINESTREAM, TIMEOUT_S
from servers import Server

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)


@pytest.fixture
def stage(
    nothing_left: Callable[[], list[int]],
    tmp_path: Path,
    own_server: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Yard]:
    monkeypatch.delenv("KINESTREAM_VIDEOS", raising=False)
    with yard(tmp_path, own_server()) as made:
        yield made


def test_hand_in_look_watch_and_export(stage: Yard) -> None:
    assert stage.run("job", "list").stdout == "no jobs\n"
    assert stage.run("job", "list", "--json").stdout == ""
    film = stage.film("jump.mp4", 60)
    first = stage.run("job", "submit", film, "--output", "csv", "--every", "2")
    job_id = first.stdout.strip()
    assert first.returncode == 0 and job_id.startswith("jump-")
    assert first.stderr == "it waits, since no `kinestream jobs` runs\n"
    again = stage.run("job", "submit", film, "--output", "csv", "--every", "2")
    assert again.stdout.strip() == job_id
    assert again.stderr == "it was handed in before, and is queued; to have it anew: --force\n"
    assert stage.run("job", "list").stdout.split() == [job_id, "queued", "0/?", "queued"]

    stage.worker()
    stage.jobs()
    seen = on_a_terminal(stage, "job", "watch", job_id)
    assert "30/30" in seen and job_id in seen and str(stage.results / job_id) in seen
    watched = stage.run("job", "watch", job_id)
    assert (watched.returncode, watched.stdout) == (0, f"{stage.results / job_id}\n")

    shown = json.loads(stage.run("job", "show", job_id, "--json").stdout)
    assert (shown["id"], shown["state"], shown["done"], shown["total"]) == (job_id, "done", 30, 30)
    assert shown["options"] == {"every": 2, "max_side": None, "outputs": ["jsonl", "csv"], "min_score": 0.0}
    assert shown["video"] == str(film) and not {"cursor", "run_key"} & {*shown}
    listed = [json.loads(line) for line in stage.run("job", "list", "--json").stdout.splitlines()]
    assert listed == [shown]
    lines = stage.run("job", "show", job_id).stdout.splitlines()
    assert lines[1].split() == ["state", "done"] and not any("cursor" in line for line in lines)

    refused = stage.run("job", "export", job_id)
    assert refused.returncode == 2 and "say what to make of it" in refused.stderr
    outputs = ("--output", "jsonl", "--output", "video")
    export_id = stage.run("job", "export", job_id, *outputs).stdout.strip()
    folder = stage.run("job", "watch", export_id).stdout.strip()
    assert sorted(path.name for path in Path(folder).iterdir()) == [
        "annotated.mp4",
        "job.json",
        "poses.jsonl",
    ]
    assert seqs_of(folder) == [*range(30)]
    refused = stage.run("job", "export", export_id, "--output", "csv")
    assert refused.returncode == 2 and "has no poses to export" in refused.stderr


def on_a_terminal(stage: Yard, *words: str) -> str:
    """What a command shows on a terminal; it ends well."""
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [*KINESTREAM, *words, "--redis", stage.url]
    child = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    seen = b""
    try:
        while some := os.read(ours, 65536):
            seen += some
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert child.wait(TIMEOUT_S) == 0, seen
    return seen.decode()


def test_a_job_without_results_and_one_that_is_left_alone(stage: Yard) -> None:
    job_id = stage.submit(stage.film("jump.mp4", 5))
    watching = stage.start("job", "watch", job_id)
    watching.wait_until(lambda: b"cmd=hgetall" in stage.redis("CLIENT", "LIST"), "it watches")
    watching.signal(signal.SIGINT)
    assert watching.wait() == 130
    assert "Traceback" not in watching.said
    assert stage.record(job_id).state == "queued"
    assert stage.run("job", "abort", job_id).stdout == "aborted\n"
    watched = stage.run("job", "watch", job_id)
    assert watched.returncode == 1 and watched.stdout == ""
    assert watched.stderr.splitlines()[-1] == (
        f"kinestream job: {job_id} aborted: aborted before it was begun"
    )
    again = stage.run("job", "submit", stage.videos / "jump.mp4")
    assert f"and is aborted; to have it anew: kinestream job retry {job_id}, or --force" in again.stderr


def test_mistakes_are_one_line(stage: Yard) -> None:
    wrong = {
        ("submit", "nowhere.mp4"): "there is no video file nowhere.mp4",
        ("submit", "http://me:pw@host/a.mp4"): "a URL with a password",
        ("submit", "http://host/a.mp4", "--output", "video"): "cannot be drawn on",
        ("show", "jump-1"): "there is no job 'jump-1': kinestream job list shows those that are known",
        ("watch", "jump-1"): "there is no job 'jump-1'",
        ("abort", "jump-1"): "there is no job 'jump-1'",
        ("retry", "jump-1"): "there is no job 'jump-1'",
        ("export", "jump-1", "--output", "csv"): "there is no job 'jump-1'",
        ("show", "no such name"): "'no such name'",
        ("submit", "a.mp4", "--every", "0"): "0",
        ("submit", "a.mp4", "--output", "pdf"): "pdf",
    }
    for words, why in wrong.items():
        done = stage.run("job", *words)
        assert done.returncode == 2 and done.stdout == "", words
        assert why in done.stderr and "Traceback" not in done.stderr
        assert "pw" not in done.stderr
