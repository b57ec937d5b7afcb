"""Two stages through the whole pipeline, by the commands that a user types; a runtime is told to every
worker.

Not for: what the engine finds (see `test_rtmpose_parity.py`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from films import write_film
from kinestream.testcard import TestCard
from pipeline import TIMEOUT_S, records_of, run
from rtmpose_graphs import detector, pair, poses

pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)

FRAMES = 6


@pytest.fixture
def film(tmp_path: Path) -> Path:
    card = TestCard(athletes=3, width=640, height=360)
    return write_film(tmp_path / "film.mp4", card, [card.frame_time(number) for number in range(FRAMES)])


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return pair(
        tmp_path,
        detector(tmp_path / "det.onnx", batch=1, seed=6),
        poses(tmp_path / "pose.onnx", keypoints=26),
    )


def test_a_film_in_two_stages(film: Path, people: Path, tmp_path: Path) -> None:
    words = ["--model", people, "--mode", "rtmpose", "--runtime", "openvino"]
    done = run("process", film, "-o", tmp_path / "out", *words)
    assert done.returncode == 0, done.stderr
    records = records_of(tmp_path / "out" / "poses.jsonl")
    assert [record.status for record in records] == ["ok"] * FRAMES
    assert {(record.model, record.skeleton) for record in records} == {("people", "halpe26")}
    assert any(record.people for record in records)
    assert all(len(person.keypoints) == 26 for record in records for person in record.people)
    assert "rtmpose people: det on OpenVINO CPU, fp32, " in done.stderr, "a worker says what it took"
    assert (tmp_path / "out" / "annotated.mp4").is_file()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--mode", "rtmpose", "--model", "rtmo-s"],
            "rtmo-s is no model of the mode rtmpose, which has rtmpose-s",
        ),
        (["--mode", "two"], "mode must be rtmo or rtmpose, got 'two'"),
        (["--mode", "rtmpose"], "rtmpose-s is not here and KINESTREAM_OFFLINE forbids to download it"),
    ],
)
def test_modes_that_cannot_be(film: Path, tmp_path: Path, words: list[str], complaint: str) -> None:
    done = run("process", film, "-o", tmp_path / "out", *words)
    assert done.returncode == 2 and complaint in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--runtime", "openvino", "--device", "cuda"], "the runtime openvino is for the CPU"),
        (["--precision", "fp16"], "precision fp16 needs --runtime openvino or --device tensorrt"),
        (["--precision", "int8"], "precision must be one of fp32, bf16, fp16, got 'int8'"),
        (["--mode", "rtmpose", "--engine", "rtmo"], "the mode rtmpose is the engine rtmpose"),
    ],
)
def test_a_worker_that_is_told_what_cannot_be(words: list[str], complaint: str) -> None:
    done = run("worker", "--model", "testcard", *words)
    assert done.returncode == 2 and done.stdout == ""
    assert complaint in done.stderr and done.stderr.count("\n") == 1
