"""OpenVINO as a runtime: the people are onnxruntime's, it says what came up, and its maker is told nothing.

What a CPU without bf16 makes of `--precision bf16` is tested where there is one, and the other way round. Not
for: speed (docs/engines.md has the table).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import EngineError, ModelError, UsageError
from kinestream.testcard import TestCard
from kinestream_workers.engines import EngineOptions, open_engine
from kinestream_workers.engines.openvino import OpenvinoRunner, core
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.engines.sessions import usable_cores
from kinestream_workers.models import resolve_model
from noise import SIZES, noise
from rtmo_graphs import constant, crowd

pytest.importorskip("openvino", reason="the extra openvino")

IN_OPENVINO = EngineOptions(runtime="openvino", threads=2)
HAS_BF16 = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

TOLERANCE = 0.01
"""Pixels, and score. Sums come in another order, so that the last digits differ."""


def people_in_batches(engine: RtmoEngine, images: list[np.ndarray]) -> list[list[tuple]]:
    """The people of all images, run in batches of 1, 3 and 8 in one memory."""
    memory = engine.new_batch(8)
    found = []
    for size in (1, 3, 8):
        people: list[tuple] = []
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            for slot, image in enumerate(batch):
                engine.fill(memory, slot, image)
            people += engine.infer(memory, range(len(batch)))
        found.append(people)
    return found


def check_alike(path: Path, images: list[np.ndarray]) -> int:
    """Compare both runtimes on a file; return the number of people."""
    (expected, *_) = people_in_batches(RtmoEngine(path, EngineOptions(device="cpu")), images)
    for found in people_in_batches(RtmoEngine(path, IN_OPENVINO), images):
        assert list(map(len, found)) == list(map(len, expected))
        for ours, theirs in zip(sum(found, ()), sum(expected, ()), strict=True):
            np.testing.assert_allclose(ours.box, theirs.box, rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(ours.score, theirs.score, rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(ours.keypoints, theirs.keypoints, rtol=0, atol=TOLERANCE)
    return sum(map(len, expected))


@pytest.mark.parametrize("batch", [None, 1, 4], ids=["dynamic", "fixed-1", "fixed-4"])
def test_the_people_are_onnxruntimes(tmp_path: Path, batch: int | None) -> None:
    images = [noise(*size, seed) for seed, size in enumerate(SIZES[:8])]
    assert check_alike(crowd(tmp_path / "crowd.onnx", batch=batch), images) > 20


def test_the_test_cards_graph_runs_too() -> None:
    """OpenVINO's ScatterND could not add in 2024, and the graph needs that."""
    card = TestCard.parse("testcard://?athletes=4&motion=jump&size=1280x720&seed=3")
    images = [card.draw(time_s) for time_s in (0.2, 0.4, 0.6)]
    assert check_alike(resolve_model("testcard"), images) == 12


def test_it_says_what_came_up(tmp_path: Path) -> None:
    engine = open_engine(crowd(tmp_path / "net.onnx", size=(192, 320)), IN_OPENVINO)
    assert engine.description == "rtmo net on OpenVINO CPU, fp32, 2 threads, batch dynamic, 320x192"
    one = open_engine(crowd(tmp_path / "one.onnx", batch=1), EngineOptions(runtime="openvino", threads=1))
    assert one.description == "rtmo one on OpenVINO CPU, fp32, 1 thread, batch 1, 640x640"
    default = open_engine(tmp_path / "net.onnx", EngineOptions(runtime="openvino"))
    assert f"fp32, {usable_cores()} thread" in default.description


@pytest.mark.skipif(HAS_BF16, reason="this CPU has bf16")
def test_a_precision_that_the_cpu_has_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = crowd(tmp_path / "net.onnx")
    engine = open_engine(path, EngineOptions(runtime="openvino", precision="bf16"))
    assert "OpenVINO CPU, fp32," in engine.description
    assert caplog.messages == ["precision bf16: this CPU cannot compute in it; using fp32"]
    with pytest.raises(EngineError, match="precision bf16: this CPU cannot compute in it"):
        open_engine(path, EngineOptions(runtime="openvino", precision="bf16", require_device=True))


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no bf16, so whether it is used cannot be shown")
def test_bf16_where_the_cpu_has_it_and_only_when_asked_for(tmp_path: Path) -> None:
    path = crowd(tmp_path / "net.onnx")
    options = EngineOptions(runtime="openvino", precision="bf16", require_device=True)
    assert "OpenVINO CPU, bf16," in open_engine(path, options).description
    assert "OpenVINO CPU, fp32," in open_engine(path, EngineOptions(runtime="openvino")).description


@pytest.mark.parametrize("device", ["cuda", "openvino", "gpu"])
def test_other_devices_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match=f"the runtime openvino is for the CPU: .* got '{device}'"):
        EngineOptions(runtime="openvino", device=device)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"runtime": "torch"}, "runtime must be one of onnxruntime, openvino, got 'torch'"),
        ({"precision": "int8"}, "precision must be one of fp32, bf16, fp16, got 'int8'"),
    ],
)
def test_words_that_mean_nothing(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=re.escape(complaint)):
        EngineOptions(**options)  # type: ignore[arg-type]


def test_a_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=r"pip install 'kinestream\[openvino\]'") as caught:
        open_engine(crowd(tmp_path / "net.onnx"), IN_OPENVINO)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["this is not ONNX", ""])
def test_a_broken_file_is_one_line(tmp_path: Path, content: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.onnx"
    path.write_text(content)
    with pytest.raises(ModelError, match=r"broken\.onnx") as caught:
        open_engine(path, IN_OPENVINO)
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")


def test_files_that_break_the_contract(tmp_path: Path) -> None:
    dets = np.array([(10, 20, 30, 50, 0.9)], np.float32)
    other = constant(tmp_path / "other.onnx", dets, inputs={"images": (1, ("b", 3, 64, 64))})
    with pytest.raises(ModelError, match=r"wanted input float .* got images float \[\?, 3, 64, 64\]"):
        open_engine(other, IN_OPENVINO)
    vague = constant(tmp_path / "vague.onnx", dets, vague=True)
    with pytest.raises(ModelError, match=r"OpenVINO cannot load .*dynamic rank.*--runtime onnxruntime may"):
        open_engine(vague, IN_OPENVINO)


def test_what_it_gives_is_the_callers(tmp_path: Path) -> None:
    """The next run must not write over what the one before gave."""
    runner = OpenvinoRunner(crowd(tmp_path / "net.onnx"), IN_OPENVINO)
    first_image, second_image = (
        np.ascontiguousarray(noise(640, 640, seed).transpose(2, 0, 1)[None], np.float32) for seed in (1, 2)
    )
    first = runner.run(["keypoints"], first_image)[0]
    kept = first.copy()
    second = runner.run(["keypoints"], second_image)[0]
    assert first.shape != second.shape or not np.array_equal(first, second), "a dull pair of pictures"
    np.testing.assert_array_equal(first, kept)


def test_others_go_on_while_it_runs(tmp_path: Path) -> None:
    """The decoding of the next batch must not wait for this one."""
    runner = OpenvinoRunner(crowd(tmp_path / "net.onnx"), EngineOptions(runtime="openvino", threads=1))
    images = np.zeros((8, 3, 640, 640), np.float32)
    runner.run(["dets"], images)
    ticks, done = 0, threading.Event()
    seen = []

    def call() -> None:
        for _ in range(20):
            before = ticks
            runner.run(["dets"], images)
            seen.append(ticks - before)
        done.set()

    thread = threading.Thread(target=call)
    thread.start()
    while not done.is_set():
        ticks += 1
    thread.join()
    assert max(seen) > 100


def test_signals_still_come_when_engines_have_gone(tmp_path: Path) -> None:
    """SIGTERM must drain a worker, not end it with a segmentation fault."""
    program = (
        "import os, signal\n"
        "from kinestream_workers.engines import EngineOptions, open_engine\n"
        "def opened():\n"
        f"    return open_engine({str(crowd(tmp_path / 'net.onnx'))!r}, EngineOptions(runtime='openvino'))\n"
        "engines = [opened(), opened()]\n"
        "engines.pop(0)\n"
        "engines.pop(0)\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('draining'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "draining\n")


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """On import OpenVINO writes an identifier into the home of its user, and tells its maker."""
    model = crowd(tmp_path / "net.onnx")
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "CI"))}
    program = (
        "import sys\n"
        "from kinestream_workers.engines import EngineOptions, open_engine\n"
        f"print(open_engine({str(model)!r}, EngineOptions(runtime='openvino')).description)\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept | {"HOME": str(home)}, check=True, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("rtmo net on OpenVINO CPU") and done.stdout.endswith("\n[]\n")
    assert list(home.rglob("*")) == []
