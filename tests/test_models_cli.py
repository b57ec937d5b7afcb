"""`kinestream models`, and `--model` of other commands, as users type them, against a server of models.

Not for: what one download may meet (see `test_download.py`, `test_modelcache.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from films import write_film
from kinestream.testcard import TestCard
from kinestream_workers.graphs import graph_path
from kinestream_workers.modelcache import MODELS_VARIABLE, OFFLINE_VARIABLE
from kinestream_workers.zoo import FILES, MIRROR_VARIABLE, NAMES, SHA256, zoo_model
from lying_http import LyingServer, claims, file, status
from modelzips import model_zip
from pipeline import KINESTREAM, TIMEOUT_S, records_of, run

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

NETWORK = graph_path("testcard-dynamic").read_bytes()
NETWORK_SHA256 = hashlib.sha256(NETWORK).hexdigest()
ZIP = model_zip(NETWORK, padding=np.random.default_rng(6).bytes(100_000))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingServer]:
    """A mirror, which all commands ask; it has rtmo-m, and an rtmo-s that is not the known one."""
    with LyingServer() as started:
        for name in ("rtmo-s", "rtmo-m"):
            started.on(f"/{zoo_model(name).zip_file}", file(ZIP))
        monkeypatch.setenv("KINESTREAM_MODEL_MIRROR", started.url)
        monkeypatch.delenv("KINESTREAM_OFFLINE")
        yield started


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KINESTREAM_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    card = TestCard(athletes=1, width=640, height=360)
    return write_film(tmp_path / "film.mp4", card, [card.frame_time(number) for number in range(5)])


def path_of(cache: Path, name: str) -> Path:
    return cache / zoo_model(name).file


def check_one_line(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("kinestream models") and done.stderr.count("\n") == 1, done.stderr
    for text in texts:
        assert text in done.stderr


def test_pull_path_and_list(server: LyingServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run("models", "list").returncode == 0 and not cache.exists(), "to look changes nothing"
    check_one_line(run("models", "path", "rtmo-m"), 1, str(cache), "kinestream models pull rtmo-m")
    pulled = run("models", "pull", "rtmo-m", "balanced")
    assert pulled.returncode == 0, pulled.stderr
    path = path_of(cache, "rtmo-m")
    assert pulled.stdout == f"{NETWORK_SHA256}  {path}\n" * 2, "as sha256sum would print it"
    assert "downloading rtmo-m from 127.0.0.1, 0.1 MB" in pulled.stderr
    assert f"SHA-256 {NETWORK_SHA256}, not pinned" in pulled.stderr
    assert pulled.stderr.count("\n") == 2
    assert path.read_bytes() == NETWORK and len(server.asked) == 1
    for name in ("rtmo-m", "balanced"):
        assert run("models", "path", name).stdout == f"{path}\n"
    shown = run("models", "list")
    assert shown.stderr == "" and f"They lie in {cache}." in shown.stdout
    rows = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines()}
    size = f"{len(NETWORK) / 1e6:.1f}"
    assert rows["rtmo-m"] == ["rtmo", "balanced", size, "MB", "not", "pinned", path.name]
    pinned = f"{SHA256['rtmo-s'][:12]}…"
    assert rows["rtmo-s"] == ["rtmo", "lightweight", "no", pinned, path_of(cache, "rtmo-s").name]
    assert rows["rtmpose-m"][:4] == ["rtmpose", "balanced", "yolox-m", "no"]
    assert rows["rtmpose-m-halpe26"][:3] == ["rtmpose", "yolox-m", "no"], "--mode has no word for it"
    facts = {
        fact["name"]: fact for fact in map(json.loads, run("models", "list", "--json").stdout.splitlines())
    }
    assert [*facts] == [*FILES]
    assert facts["rtmpose-x-halpe26"]["needs"] == "yolox-x" and facts["yolox-x"]["needs"] is None
    assert (facts["rtmo-m"]["path"], facts["rtmo-m"]["bytes"]) == (str(path), len(NETWORK))
    assert facts["rtmo-m"]["quality"] == "balanced" and facts["rtmo-m"]["sha256"] is None
    assert facts["rtmo-s"]["path"] is None and facts["rtmo-s"]["sha256"] == SHA256["rtmo-s"]


def test_a_model_of_two_files(server: LyingServer, cache: Path) -> None:
    for name in ("rtmpose-m-halpe26", "yolox-m"):
        server.on(f"/{zoo_model(name).zip_file}", file(ZIP))
    check_one_line(run("models", "path", "rtmpose-m-halpe26"), 1, "kinestream models pull rtmpose-m-halpe26")
    pulled = run("models", "pull", "rtmpose-m-halpe26")
    assert pulled.returncode == 0, pulled.stderr
    paths = [path_of(cache, name) for name in ("rtmpose-m-halpe26", "yolox-m")]
    assert pulled.stdout == "".join(f"{NETWORK_SHA256}  {path}\n" for path in paths)
    pair = cache / "rtmpose-m-halpe26.rtmpose"
    assert run("models", "path", "rtmpose-m-halpe26").stdout == f"{pair}\n" and pair.is_file()
    assert run("models", "path", "yolox-m").stdout == f"{paths[1]}\n"
    wrong = run("models", "pull", "yolox-m", "--sha256", "0" * 64)
    assert wrong.returncode == 2 and "wanted 0000" in wrong.stderr
    chosen = run("models", "choose", "--mode", "rtmpose", "rtmpose-m-halpe26")
    assert chosen.stdout == "rtmpose-m-halpe26\n"
    check_one_line(run("models", "choose", "--mode", "rtmpose", "rtmo-s"), 2, "no model of the mode rtmpose")


def test_the_commands_of_the_documentation(server: LyingServer, cache: Path) -> None:
    documentation = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```bash\n(.*?)```", documentation, re.S)
    for command in commands.splitlines():
        done = run(*command.split()[1:])
        assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path_of(cache, 'rtmo-m')}\n"
    for variable in (MODELS_VARIABLE, OFFLINE_VARIABLE, MIRROR_VARIABLE):
        assert f"`{variable}" in documentation
    for name in (*NAMES, "auto", "testcard", "testcard-fixed"):
        assert f"`{name}`" in documentation


def test_a_file_that_is_not_the_known_one(server: LyingServer, cache: Path) -> None:
    wrong = run("models", "pull", "rtmo-s")
    assert wrong.returncode == 2 and not path_of(cache, "rtmo-s").exists()
    assert f"SHA-256 {NETWORK_SHA256}, wanted {SHA256['rtmo-s']}" in wrong.stderr.splitlines()[-1]
    way_out = f"kinestream models pull rtmo-s --sha256 {NETWORK_SHA256}"
    assert way_out in wrong.stderr.splitlines()[-1]
    done = run(*way_out.split()[1:])
    assert done.returncode == 0 and path_of(cache, "rtmo-s").exists(), done.stderr
    assert run(*way_out.split()[1:]).stderr == ""
    again = run("models", "pull", "rtmo-s")
    assert again.returncode == 0 and again.stdout == done.stdout
    assert " WARNING " in again.stderr and SHA256["rtmo-s"] in again.stderr


def test_what_was_broken_off_is_continued_by_the_next_command(server: LyingServer, cache: Path) -> None:
    path = "/" + zoo_model("rtmo-m").zip_file
    server.on(path, *[claims(len(ZIP), ZIP[:50_000])], status(404))
    assert run("models", "pull", "rtmo-m").returncode == 2
    server.on(path, file(ZIP))
    done = run("models", "pull", "rtmo-m")
    assert done.returncode == 0, done.stderr
    assert "of which 0.1 MB are here" in done.stderr
    assert server.headers("Range")[-1] == "bytes=50000-"


@pytest.mark.parametrize(
    ("words", "code", "texts"),
    [
        (
            ["pull", "rtmo-m"],
            2,
            ["KINESTREAM_OFFLINE", "--model FILE", "KINESTREAM_MODELS", "--model testcard"],
        ),
        (["pull", "rtmo-x"], 2, ["rtmo-x", "rtmo-t", "performance"]),
        (["pull"], 2, ["NAME"]),
        (["pull", "rtmo-m", "--sha256", "abc"], 2, ["64 hexadecimal digits"]),
        (["pull", "rtmo-m", "rtmo-s", "--sha256", "0" * 64], 2, ["of one model"]),
        (["path", "nonsense"], 2, ["nonsense", "rtmo-t"]),
        (["choose", "nonsense"], 2, ["nonsense", "rtmo-t", "testcard-fixed"]),
    ],
)
def test_mistakes_are_one_line(words: list[str], code: int, texts: list[str]) -> None:
    check_one_line(run("models", *words), code, *texts)


def test_a_mirror_without_the_model_is_one_line(server: LyingServer, cache: Path) -> None:
    check_one_line(run("models", "pull", "rtmo-l"), 2, "it answers 404 Not Found", str(cache))


def test_choose(server: LyingServer, cache: Path) -> None:
    fallback = run("models", "choose")
    assert fallback.stdout == "testcard\n" and " WARNING " in fallback.stderr, "its rtmo-s is another one"
    path_of(cache, "rtmo-s").write_bytes(NETWORK)
    assert run("models", "choose").stdout == "rtmo-s\n"
    assert run("models", "choose", "rtmo-m").stdout == "rtmo-m\n"
    assert path_of(cache, "rtmo-m").exists()


def test_a_terminal_sees_a_bar(server: LyingServer) -> None:
    ours, theirs = pty.openpty()
    command = [*KINESTREAM, "models", "pull", "rtmo-m"]
    with subprocess.Popen(command, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as pulling:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    assert pulling.returncode == 0, shown
    assert b"rtmo-m from 127.0.0.1" in shown and "━".encode() in shown
    assert b"downloading rtmo-m" not in shown


def test_process_by_name(place: Path, server: LyingServer, cache: Path, film: Path, tmp_path: Path) -> None:
    """It downloads before it starts anything; its workers find the file."""
    done = run("process", film, "-o", tmp_path / "out", "--model", "balanced", "--workers", "2", "--no-video")
    assert done.returncode == 0, done.stderr
    assert len(server.asked) == 1
    records = records_of(tmp_path / "out" / "poses.jsonl")
    assert {record.model for record in records} == {path_of(cache, "rtmo-m").stem}
    lines = done.stderr.splitlines()
    assert lines[0].endswith("downloading rtmo-m from 127.0.0.1, 0.1 MB")
    assert sum("$ " in line and " --model balanced " in line for line in lines) == 2


def test_process_with_a_model_that_cannot_be_had(
    place: Path, server: LyingServer, film: Path, tmp_path: Path
) -> None:
    done = run("process", film, "-o", tmp_path / "out", "--model", "rtmo-l")
    assert done.returncode == 2 and done.stdout == ""
    why, last = done.stderr.splitlines()
    assert why.startswith("kinestream models: cannot download rtmo-l (127.0.0.1: it answers 404 Not Found)")
    assert last.startswith("kinestream process: there is no model rtmo-l")
    assert not place.exists() and not (tmp_path / "out").exists(), "nothing was started for it"


def test_process_without_a_model(place: Path, film: Path, tmp_path: Path) -> None:
    """A film of people without a model for people is no analysis: nothing stands in for it."""
    done = run("process", film, "-o", tmp_path / "out", "--no-video")
    assert done.returncode == 2
    assert done.stderr.startswith("kinestream models: rtmo-s is not here and KINESTREAM_OFFLINE forbids")
    assert not (tmp_path / "out").exists()


def test_demo_says_which_model_and_why(place: Path, cache: Path, film: Path, tmp_path: Path) -> None:
    cache.mkdir()
    path_of(cache, "rtmo-s").write_bytes(NETWORK)
    own = run("demo", "--source", "testcard://?seconds=0.3", "-o", tmp_path / "own")
    assert own.returncode == 0, own.stdout + own.stderr
    assert own.stdout.startswith("The model is testcard") and "worker --model testcard " in own.stdout
    films = run("demo", "--source", film, "-o", tmp_path / "film")
    assert films.returncode == 0, films.stdout + films.stderr
    assert "model auto: rtmo-s" in films.stderr and "worker --model rtmo-s " in films.stdout


def test_a_worker_takes_what_there_is(redis_url: str, cache: Path) -> None:
    """What it says first is the model; a name that cannot be had ends it, as nothing stands in for it."""
    command = [*KINESTREAM, "worker", "--redis", redis_url]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        assert "model auto: testcard, which finds nobody" in worker.stderr.readline()
        worker.terminate()
        worker.stderr.read()
    named = run("worker", "--redis", redis_url, "--model", "rtmo-l")
    assert named.returncode == 2
    assert named.stderr.startswith("kinestream worker: rtmo-l is not here and KINESTREAM_OFFLINE")
    assert named.stderr.count("\n") == 1
