"""docs/engines.md: the engine that it shows is the one in the examples, and works once it is installed.

It is really installed, from a copy, without a network; then a worker finds it by its entry point. And what is
said about engines that are not there, or broken. Not for: what Kinestream's own engines do.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kinestream.errors import UsageError
from kinestream.messages import Frame, PoseResult
from kinestream.redis import connect
from kinestream.run import Run
from kinestream.subscriber import subscribe
from kinestream_workers.engines import Engine
from kinestream_workers.engines.devices import CPU, CUDA, parse_device
from kinestream_workers.engines.engine import PRECISIONS, RUNTIMES
from kinestream_workers.engines.pairfile import Pair, read_pair
from pipeline import TIMEOUT_S, Command, run
from servers import Server

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLE = DOCS / "examples" / "blob-engine"
PAGE = (DOCS / "engines.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", folder / "site", source],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture
def with_example(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Processes that are started from now on have the example installed."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    return installed


def spots() -> NDArray[np.uint8]:
    """A dark picture with two bright rectangles, the smaller one further up."""
    image = np.full((240, 320, 3), 20, np.uint8)
    image[20:30, 200:220] = 255
    image[100:160, 40:80] = 255
    return image


def test_the_page_shows_the_files() -> None:
    assert f"```python\n{(EXAMPLE / 'blob_engine.py').read_text()}```" in PAGE
    assert f"```toml\n{(EXAMPLE / 'pyproject.toml').read_text()}```" in PAGE


def test_the_page_names_what_an_engine_has() -> None:
    table = PAGE.split("exact\nwords is" if "exact\nwords is" in PAGE else "engine.py)", 1)[1].split("\n\n")[
        1
    ]
    named = set(re.findall(r"`(\w+)", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
    has = {
        name for name in vars(Engine) if not name.startswith("_") and callable(getattr(Engine, name, None))
    }
    properties = {name for name, value in vars(Engine).items() if isinstance(value, property)}
    assert named == has | properties | {"suffixes", "__init__"}


async def test_a_frame_in_a_spot_out(
    with_example: Path, tmp_path: Path, own_server: Callable[..., Server]
) -> None:
    url = own_server().url
    (tmp_path / "ball.blob").write_text("200\n")
    words = ["worker", "--model", tmp_path / "ball.blob", "--redis", url]
    with Command(tmp_path / "worker.txt", *words) as worker:
        async with connect(url) as redis, asyncio.timeout(TIMEOUT_S):
            run = await Run.begin(redis, "camera", lane="every-frame")
            frame = Frame(
                camera="camera",
                run=run.number,
                seq=0,
                captured_us=1,
                width=640,
                height=480,
                view=(0, 0, 640, 480),
                codec="png",
                data=cv2.imencode(".png", spots())[1].tobytes(),
                lane="every-frame",
            )
            assert await run.offer(frame) == "ok"
            record = await first_record(url)
        worker.wait_to_say("ms a batch of 4")
        assert "blob ball on CPU, brighter than 200, " in worker.said
    assert (record.status, record.model, record.skeleton) == ("ok", "ball", "spot1")
    large, small = record.people
    # The picture is sent at half the size of its source, in whose pixels the record is.
    assert large.box == (80, 200, 160, 320) and large.keypoints == ((120, 260, 1.0),)
    assert small.box == (400, 40, 440, 60) and small.keypoints == ((420, 50, 1.0),)


async def first_record(url: str) -> PoseResult:
    results = subscribe(url, ["camera"], start="beginning")
    async with contextlib.aclosing(results):
        return await anext(results)


def test_the_program_that_tries_it(with_example: Path, tmp_path: Path) -> None:
    (program,) = [text for text in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "new_batch(1)" in text]
    (tmp_path / "ball.blob").write_text("200")
    cv2.imwrite(str(tmp_path / "ball.png"), spots())
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "blob ball on CPU, brighter than 200 [(Person(box=(40.0, 100.0, 80.0, 160.0)"
    )


@pytest.mark.parametrize(
    ("model", "words", "complaint"),
    [
        (
            "200",
            ["--device", "cuda", "--require-device"],
            "cuda did not come up: the engine blob runs on the CPU only",
        ),
        ("bright", [], "ball.blob is no blob model, wanted a number from 0 to 255"),
    ],
)
def test_what_the_example_refuses(
    with_example: Path, tmp_path: Path, redis_url: str, model: str, words: list[str], complaint: str
) -> None:
    (tmp_path / "ball.blob").write_text(model)
    done = run("worker", "--model", tmp_path / "ball.blob", "--redis", redis_url, *words)
    assert complaint in one_line(done)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed has said last, without a traceback."""
    assert done.returncode in (1, 2) and done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


USURPER = """
class Engine:
    suffixes = (".onnx", ".odd")
    def __init__(self, *_):
        raise SystemExit(77)
"""


def packaged(folder: Path, name: str, engine: str, source: str) -> None:
    """Write what pip would have installed: a module, and an entry point that names its engine."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[kinestream.engines]\n{engine} = {name}:Engine\n")


@pytest.fixture
def with_bad_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs an engine whose import fails, and one that claims the name and the models of `rtmo`."""
    packaged(tmp_path, "broken", "broken", "import no_such_module_for_test")
    packaged(tmp_path, "aaa", "rtmo", USURPER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (
            ["--engine", "none"],
            2,
            r"there is no engine 'none'; there are mediapipe, null, rtmo, rtmpose, timed, broken, rtmo",
        ),
        (
            ["--engine", "broken"],
            1,
            r"the engine broken cannot be loaded: No module named 'no_such_module_for_test'",
        ),
        (
            ["--model", "people.xyz"],
            2,
            r"no engine takes a model that ends in \.xyz, there are \.task \(mediapipe\), \.null \(null\), "
            r"\.onnx \(rtmo\), \.rtmpose \(rtmpose\), \.timed \(timed\), .*one can be named with --engine",
        ),
        (["--model", "people"], 2, r"no engine takes a model that ends in nothing, there are "),
    ],
)
def test_what_is_said_about_engines(
    with_bad_engines: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    words: list[str],
    code: int,
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("people.xyz", "people"):
        (tmp_path / name).write_text("a model")
    done = run("worker", "--model", "testcard", "--redis", redis_url, *words)
    assert done.returncode == code, done.stderr
    assert re.search(complaint, one_line(done)), done.stderr


def test_other_packages_take_nothing_over(with_bad_engines: None) -> None:
    program = (
        "from kinestream_workers.engines import open_engine\n"
        "for name in (None, 'rtmo'):\n"
        "    print(open_engine('testcard', engine=name).description)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rtmo testcard-dynamic on CPUExecutionProvider") == 2
    assert done.stderr == ""


def test_the_devices_are_those_of_the_code() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.split("| `--device` |", 1)[1].split("\n\n")[0].splitlines()[2:]
    ]
    told = set()
    for words, providers, _, package, _ in rows:
        for word in re.findall(r"`([a-z:N]+)`", words):
            told.add(word)
            device = parse_device(word.replace("N", "2"), [CPU])
            if device is None:
                assert word in ("auto", "cpu")
                continue
            assert providers.startswith(f"`{device.provider}`")
            assert device.package.split()[0] in package
            assert device.name.endswith(":2") == word.endswith("N")
    with pytest.raises(UsageError) as caught:
        parse_device("gpu", [])
    (names,) = re.findall(r"must be (.*), got", str(caught.value))
    assert told == set(re.split(r", | or ", names))
    auto = parse_device("auto", [CUDA, CPU])
    assert auto is not None and auto.provider == CUDA


def test_the_runtimes_and_precisions_are_those_of_the_code() -> None:
    rows = [
        [re.findall(r"`([a-z0-9]+)`", cell) for cell in line.strip("|").split("|")[:2]]
        for line in PAGE.split("| `--runtime` |", 1)[1].split("\n\n")[0].splitlines()[2:]
    ]
    assert {runtime for (runtime,), _ in rows} == set(RUNTIMES)
    assert {precision for _, precisions in rows for precision in precisions} == set(PRECISIONS)


def test_the_pair_that_the_page_shows_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(detector = .*?)```", PAGE, re.S)
    (tmp_path / "people.rtmpose").write_text(text)
    for name in ("yolox_m.onnx", "rtmpose-m.onnx"):
        (tmp_path / name).touch()
    pair = read_pair(tmp_path / "people.rtmpose")
    assert pair == Pair(detector=tmp_path / "yolox_m.onnx", pose=tmp_path / "rtmpose-m.onnx")


def test_the_example_asks_for_what_it_imports() -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["kinestream"]
    assert list(project["entry-points"]) == ["kinestream.engines"]
