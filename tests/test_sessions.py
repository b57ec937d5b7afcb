"""Which device and how many threads a session comes up with, and what is said when it does not.

CUDA itself cannot be tested where there is none: only what happens if it is asked for and does not come up.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from rtmlib.tools.base import RTMLIB_SETTINGS

from kinestream.errors import EngineError, ModelError, UsageError
from kinestream_workers.engines import EngineOptions, open_engine, sessions, warm_up
from kinestream_workers.engines.devices import (
    COREML,
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    parse_device,
    with_tensorrt,
)
from rtmo_graphs import JOINTS, constant, crowd

FLOAT = TensorProto.FLOAT
CUDA_IS_HERE = CUDA in onnxruntime.get_available_providers()


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_devices_that_do_not_exist(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match=r"device must be auto, cpu, .* or mps, got"):
        open_engine(crowd(tmp_path / "net.onnx"), EngineOptions(device=device))


def test_threads_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threads must be 1 to 1024, got 100000"):
        EngineOptions(threads=100_000)
    with pytest.raises(UsageError, match="threads must be 1 to 1024, got 0"):
        open_engine(crowd(tmp_path / "net.onnx"), EngineOptions(threads=0))


def test_auto_is_the_cpu_where_there_is_no_cuda(tmp_path: Path) -> None:
    if CUDA_IS_HERE:
        pytest.skip("this onnxruntime has CUDA")
    engine = open_engine(crowd(tmp_path / "net.onnx"))
    assert f"on CPUExecutionProvider, {sessions.usable_cores()} thread" in engine.description


@pytest.mark.parametrize("device, index", [("cuda", 0), ("cuda:1", 1)])
def test_cuda_that_is_not_there_is_an_error(tmp_path: Path, device: str, index: int) -> None:
    if CUDA_IS_HERE:
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(EngineError, match=f"cuda:{index}: this onnxruntime has no CUDA"):
        open_engine(crowd(tmp_path / "net.onnx"), EngineOptions(device=device, require_device=True))


@pytest.fixture
def cuda_that_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make onnxruntime claim CUDA and come up on the CPU, as it does when a library of CUDA is missing."""
    if CUDA_IS_HERE:
        pytest.skip("this onnxruntime has CUDA")
    real = onnxruntime.InferenceSession

    def quietly_on_cpu(path: Path, options: object, providers: list[object], **more: object) -> object:
        return real(path, options, providers=[CPU], **more)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", quietly_on_cpu)


@pytest.mark.usefixtures("cuda_that_falls_back")
def test_cuda_that_falls_back_is_an_error_if_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match="cuda:0 did not come up, and onnxruntime took CPUExecutionProvider: its driver"
    ):
        open_engine(crowd(tmp_path / "net.onnx"), EngineOptions(device="cuda", require_device=True))


@pytest.mark.usefixtures("cuda_that_falls_back")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_cuda_that_falls_back_is_a_warning_if_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, device: str
) -> None:
    with caplog.at_level(logging.WARNING):
        engine = open_engine(crowd(tmp_path / "net.onnx"), EngineOptions(device=device))
    assert "on CPUExecutionProvider" in engine.description
    assert "cuda:0 did not come up" in caplog.text and "using the CPU" in caplog.text


@pytest.mark.usefixtures("cuda_that_falls_back")
def test_a_broken_file_is_not_blamed_on_cuda(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_text("this is not ONNX")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        open_engine(tmp_path / "broken.onnx", EngineOptions(device="cuda", require_device=True))


@pytest.mark.parametrize(
    "word, provider, index",
    [
        ("cuda", CUDA, "0"),
        ("cuda:3", CUDA, "3"),
        ("tensorrt", TENSORRT, "0"),
        ("tensorrt:1", TENSORRT, "1"),
        ("openvino", OPENVINO, None),
        ("mps", COREML, None),
    ],
)
def test_what_a_device_asks_onnxruntime_for(word: str, provider: str, index: str | None) -> None:
    device = parse_device(word, [])
    assert device is not None and device.provider == provider
    assert device.providers[0][1].get("device_id") == index
    if provider == TENSORRT:  # what TensorRT cannot run, CUDA does, on the same device
        name, options = device.providers[1]
        assert (name, options["device_id"]) == (CUDA, index)


def test_auto_takes_cuda_where_onnxruntime_has_it_and_nothing_else() -> None:
    assert parse_device("auto", [TENSORRT, CUDA, CPU]) == parse_device("cuda:0", [])
    assert parse_device("auto", [OPENVINO, COREML, CPU]) is parse_device("cpu", [CUDA]) is None


@pytest.mark.parametrize("precision, switches", [("fp32", {}), ("fp16", "fp16"), ("bf16", "bf16")])
def test_tensorrt_is_told_its_precision_and_where_its_engines_are(precision: str, switches: object) -> None:
    device = parse_device("tensorrt:2", [])
    assert device is not None
    told = with_tensorrt(device, precision, Path("/models/tensorrt"))
    assert (told.name, told.providers[1:]) == (device.name, device.providers[1:]), (
        "CUDA, for the rest, as it was"
    )
    name, options = told.providers[0]
    assert name == TENSORRT and options == {
        "device_id": "2",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/models/tensorrt",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/models/tensorrt",
    } | ({f"trt_{switches}_enable": "1"} if switches else {})


@pytest.mark.parametrize("word", ["cuda:1", "openvino", "mps"])
def test_other_devices_are_told_nothing_of_tensorrt(word: str) -> None:
    device = parse_device(word, [])
    assert device is not None and with_tensorrt(device, "fp32", Path("/models")) is device


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:1", "mps"])
def test_a_precision_that_onnxruntime_cannot_choose(device: str) -> None:
    with pytest.raises(UsageError, match="precision fp16 needs --runtime openvino or --device tensorrt"):
        EngineOptions(device=device, precision="fp16")
    assert EngineOptions(device="tensorrt:1", precision="fp16").precision == "fp16"


def test_bound_outputs_are_those_of_a_plain_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's inputs and outputs are bound; here the CPU's are, which shows that nothing is mixed up."""
    runner = sessions.SessionRunner(
        crowd(tmp_path / "net.onnx", size=(192, 320)), EngineOptions(device="cpu")
    )
    random = np.random.default_rng(3)
    batches = [random.uniform(0, 255, (size, 3, 192, 320)).astype(np.float32) for size in (1, 4, 2)]
    plain = [runner.run(["keypoints", "dets"], images) for images in batches]
    monkeypatch.setattr(sessions, "BINDING", (CPU,))
    bound = [runner.run(["keypoints", "dets"], images) for images in batches]
    for expected, found in zip(plain, bound, strict=True):
        assert [array.shape[2:] for array in found] == [(JOINTS, 3), (5,)]
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("word", ["cpu", "cuda", "mps"])
def test_a_word_that_rtmlib_has_means_the_same(word: str) -> None:
    theirs = RTMLIB_SETTINGS["onnxruntime"][word]
    device = parse_device(word, [])
    ours = device.provider if device else CPU
    assert ours == theirs or (word == "mps" and theirs == CPU), "rtmlib's mps is the CPU but on macOS"


@pytest.mark.parametrize(
    "word, package",
    [("tensorrt", "onnxruntime-gpu"), ("openvino", "onnxruntime-openvino"), ("mps", "onnxruntime for macOS")],
)
def test_a_device_that_is_not_there_is_one_line_and_the_cpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, word: str, package: str
) -> None:
    device = parse_device(word, [])
    assert device is not None
    if device.provider in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {device.provider}")
    path = crowd(tmp_path / "net.onnx")
    with caplog.at_level(logging.WARNING):
        assert "on CPUExecutionProvider" in open_engine(path, EngineOptions(device=word)).description
    complaint = f"{device.name}: this onnxruntime has no {device.provider} (the package {package} has it)"
    assert caplog.messages == [f"{complaint}; using the CPU"]
    with pytest.raises(EngineError, match=re.escape(complaint)):
        open_engine(path, EngineOptions(device=word, require_device=True))


def test_auto_cannot_be_required() -> None:
    with pytest.raises(UsageError, match="require-device needs the device's name"):
        EngineOptions(require_device=True)


@pytest.mark.parametrize(
    "limit, cpus",
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 1),
        ("50000 100000\n", 0),
        ("odd", 8),
        (None, 8),
    ],
)
def test_a_containers_quota_is_read(tmp_path: Path, limit: str | None, cpus: int) -> None:
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit)
    assert sessions._quota(tmp_path / "cpu.max", default=8) == cpus


def test_the_default_threads_fit_this_process() -> None:
    assert 1 <= sessions.usable_cores() <= (os.cpu_count() or 1)


def test_a_number_of_people_that_varies_is_no_news(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exports declare the N of the picture they were traced with; by default each run would warn about it."""
    dets = (TensorProto.FLOAT, ("b", 50, 5))
    keypoints = (TensorProto.FLOAT, ("b", 50, JOINTS, 3))
    nobody = np.zeros((0, 5), np.float32)
    path = constant(tmp_path / "net.onnx", nobody, outputs={"dets": dets, "keypoints": keypoints}, vague=True)
    loud = onnxruntime.InferenceSession(path, providers=[CPU])
    loud.run(None, {"input": np.zeros((1, 3, 64, 64), np.float32)})
    assert "dets" in capfd.readouterr().err, "onnxruntime no longer warns: drop LOG_ERRORS_ONLY"
    warm_up(open_engine(path, EngineOptions(device="cpu")), 2)
    assert capfd.readouterr() == ("", "")


def no_pad(path: Path) -> Path:
    """Write a graph that onnxruntime complains about at length, on stderr, while a session is made of it."""
    pads = numpy_helper.from_array(np.zeros(8, np.int64), "pads")
    values = [helper.make_tensor_value_info(name, FLOAT, (1, 3, 4, 4)) for name in ("input", "dets")]
    pad = helper.make_node("Pad", ["input", "pads"], ["dets"], mode="odd")
    graph = helper.make_graph([pad], "test", values[:1], values[1:], [pads])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_session_that_fails_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is the exception's; onnxruntime's own words are for those who ask for more."""
    path = no_pad(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match=r"cannot load .*net\.onnx: .*Invalid 'mode'") as caught:
        sessions.open_session(path, EngineOptions(device="cpu"))
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")
    with caplog.at_level(logging.DEBUG, sessions.logger.name), pytest.raises(ModelError):
        sessions.open_session(path, EngineOptions(device="cpu"))
    assert "Exception during initialization" in capfd.readouterr().err


@pytest.mark.parametrize(
    "error, cause",
    [
        ("[ONNX] : /src/a.cc:13 void f(A&)\nCheck failed:\nonly none is there\n\n", "only none is there"),
        ("/src/a.cc:729 void n::f(A*, const B&) Please install it", "Please install it"),
        ("/src/a.h:7 int n::A::f() const Please install it.", "Please install it"),
        ("", "RuntimeError"),
    ],
)
def test_the_cause_of_an_error_is_told_without_its_place_in_cpp(error: str, cause: str) -> None:
    assert sessions.cause(RuntimeError(error)) == cause


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """onnxruntime's telemetry, on by default, begins with writing an identifier of this user into a cache."""
    model = crowd(tmp_path / "net.onnx")
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "CI"))}
    program = f"from kinestream_workers.engines import open_engine; open_engine({str(model)!r})"
    subprocess.run([sys.executable, "-c", program], env=kept | {"HOME": str(home)}, check=True, timeout=60)
    assert list(home.rglob("*")) == []
