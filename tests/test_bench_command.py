"""`kinestream bench` as users run it, with an engine that costs nothing: it runs and answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import run

QUICK = ("--model", "null", "--size", "160x160", "--fps", "5", "--seconds", "1")


def test_a_number_of_cameras_is_tried_and_told() -> None:
    done = run("bench", *QUICK, "--cameras", "2", "--target-p95", "60s", "--json")
    told = json.loads(done.stdout)
    (trial,) = told["trials"]
    assert (trial["cameras"], trial["frames"], trial["lost"], trial["fits"]) == (2, 10, 0.0, True)
    assert told["cameras"] == 2
    assert told["target_p95_ms"] == 60_000
    assert "kinestream worker --target-p95 60s --model null" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("2 cameras of 5 frames/s fit within 60000 ms (p95 ")


def test_not_even_one_camera_is_an_answer_too(tmp_path: Path) -> None:
    model = tmp_path / "slow.timed"
    model.write_text("base_ms = 300\nper_image_ms = 0")
    done = run("bench", *QUICK, "--model", model, "--target-p95", "100ms", "--max-batch", "2")
    assert "at most " in done.stderr
    assert done.stdout.startswith("not one camera of 5 frames/s fits within 100 ms: p95 is ")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--target-p95", "fast"], 2, "target-p95 must be a time such as 80ms"),
        (["--size", "10x10"], 2, "size"),
        (["--cameras", "0"], 2, "--cameras"),
        (["--model", "none.onnx"], 2, "cannot read model"),
    ],
)
def test_what_it_refuses(words: list[str], code: int, complaint: str) -> None:
    done = run("bench", *words)
    assert complaint in done.stderr
    assert done.returncode == code
