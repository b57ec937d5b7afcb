"""The engine of two stages around its networks: which files it takes, what it says, what breaks it.

That its people are rtmlib's is shown in `test_rtmpose_parity.py`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from kinestream.errors import EngineError, ModelError
from kinestream.messages import PoseResult
from kinestream_workers.engines import EngineOptions, engine_names, open_engine, warm_up
from kinestream_workers.engines.rtmpose import MAX_TOGETHER, RtmposeEngine
from noise import noise
from rtmo_graphs import constant, crowd
from rtmpose_graphs import detector, pair, poses

ON_CPU = EngineOptions(device="cpu", threads=1)
PHOTO = noise(640, 480, 3)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A pair of files as they are published: the detector's batch axis fixed at 1, the other one dynamic."""
    return pair(
        tmp_path,
        detector(tmp_path / "yolox.onnx", batch=1),
        poses(tmp_path / "rtmpose.onnx", keypoints=26),
    )


def test_an_engine_says_what_came_up(two: Path) -> None:
    engine = open_engine(two, ON_CPU)
    assert isinstance(engine, RtmposeEngine) and "rtmpose" in engine_names()
    assert (engine.name, engine.skeleton) == ("people", "halpe26")
    assert engine.description == (
        "rtmpose people: yolox on CPUExecutionProvider, 1 thread, batch 1, 416x416; "
        "rtmpose on CPUExecutionProvider, 1 thread, batch dynamic, 192x256"
    )
    in_openvino = open_engine(two, EngineOptions(runtime="openvino", threads=1))
    assert in_openvino.description.count("on OpenVINO CPU, fp32, 1 thread") == 2


def test_warm_up_and_a_message_take_it(two: Path) -> None:
    engine = open_engine(two, ON_CPU)
    assert warm_up(engine, 3).keys() == {1, 2, 3}
    engine.fill(batch := engine.new_batch(1), 0, PHOTO)
    (people,) = engine.infer(batch, [0])
    assert people and {len(person.keypoints) for person in people} == {26}
    assert {type(value) for value in (*people[0].box, people[0].score, *people[0].keypoints[0])} == {float}
    result = PoseResult(camera="c", run=1, seq=0, status="ok", people=people, skeleton=engine.skeleton)
    assert PoseResult.unpack(result.pack()).people == people


def test_any_slots_in_any_order(two: Path) -> None:
    engine = open_engine(two, ON_CPU)
    batch = engine.new_batch(4)
    for slot in range(4):
        engine.fill(batch, slot, noise(300 + 90 * slot, 400, slot))
    alone = [engine.infer(batch, [slot])[0] for slot in range(4)]
    assert sum(map(len, alone)) > 6
    for slots in ([0, 1, 2, 3], [3, 1], [0, 2], []):
        assert [len(people) for people in engine.infer(batch, slots)] == [len(alone[slot]) for slot in slots]
        for people, slot in zip(engine.infer(batch, slots), slots, strict=True):
            for ours, expected in zip(people, alone[slot], strict=True):
                np.testing.assert_allclose(ours.keypoints, expected.keypoints, atol=1e-3)


@pytest.mark.parametrize(("axis", "longest"), [(None, MAX_TOGETHER), (5, 5)], ids=["dynamic", "fixed"])
def test_people_are_run_together_but_never_too_many(
    two: Path, monkeypatch: pytest.MonkeyPatch, axis: int | None, longest: int
) -> None:
    """Those of all images of a batch, in runs of the bound; a fixed axis has runs of its own length."""
    poses(two.parent / "rtmpose.onnx", keypoints=26, batch=axis)
    engine = RtmposeEngine(two, ON_CPU)
    runs: list[int] = []
    run = engine._run
    monkeypatch.setattr(engine, "_run", lambda count: runs.append(count) or run(count))
    batch = engine.new_batch(8)
    for slot in range(8):
        engine.fill(batch, slot, noise(640, 480, slot))
    people = sum(map(len, engine.infer(batch, range(8))))
    assert people > 2 * MAX_TOGETHER and max(runs) == longest
    assert len(runs) == -(-people // longest) and sum(runs) == people


def test_nobody_is_nobody(two: Path) -> None:
    """rtmlib would look at the whole picture."""
    engine = open_engine(two, ON_CPU)
    engine.fill(batch := engine.new_batch(2), 0, np.full((480, 640, 3), 114, np.uint8))
    engine.fill(batch, 1, PHOTO)
    nobody, somebody = engine.infer(batch, [0, 1])
    assert nobody == () and somebody


def test_what_was_never_filled_cannot_be_inferred(two: Path) -> None:
    engine = open_engine(two, ON_CPU)
    with pytest.raises(ValueError, match="never filled"):
        engine.infer(engine.new_batch(1), [0])
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        engine.new_batch(0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "\x00\x01",
            r"people\.rtmpose is no \.rtmpose file, which names a detector and a network for poses: ",
        ),
        (
            "detector = 1\npose = 'b'",
            r"must name two files, detector and pose, and nothing else, got detector, pose",
        ),
        ("", r"is an empty file"),
        ("pose = 'b'", r"and nothing else, got pose"),
        ("detector = 'a'\npose = 'b'\nc = 'd'", r"got c, detector, pose"),
        (
            "detector = 'yolox.onnx'\npose = 'gone.onnx'",
            r"names .*gone\.onnx as its pose, and no file is there",
        ),
    ],
)
def test_files_that_name_no_pair(two: Path, text: str, complaint: str) -> None:
    two.write_text(text)
    with pytest.raises(ModelError, match=complaint) as caught:
        open_engine(two, ON_CPU)
    assert "\n" not in str(caught.value)


def test_a_network_alone_is_no_pair(two: Path) -> None:
    with pytest.raises(ModelError, match=r"rtmpose\.onnx is no \.rtmpose file, which names a detector and"):
        open_engine(two.parent / "rtmpose.onnx", ON_CPU, engine="rtmpose")
    with pytest.raises(ModelError, match=r"is no RTMO: .*got simcc_x float"):
        open_engine(two.parent / "rtmpose.onnx", ON_CPU)


def test_names_are_relative_to_the_file(two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    two.write_text('detector = "yolox.onnx"\npose = "rtmpose.onnx"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_engine("../people.rtmpose", ON_CPU).name == "people"


def test_files_in_the_wrong_place(two: Path) -> None:
    folder = two.parent
    pair(folder, folder / "rtmpose.onnx", folder / "yolox.onnx")
    with pytest.raises(
        ModelError, match=r"rtmpose\.onnx is no person detector of YOLOX's: wanted output dets"
    ):
        open_engine(two, ON_CPU)
    pair(folder, folder / "yolox.onnx", crowd(folder / "rtmo.onnx"))
    with pytest.raises(
        ModelError, match=r"rtmo\.onnx is no RTMPose: wanted output simcc_x float \[P, K, 1280\]"
    ):
        open_engine(two, ON_CPU)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"keypoints": 133}, r"gives 133 keypoints a person, wanted 17 \(coco17\) or 26 \(halpe26\)"),
        ({"split": 3}, r"is no RTMPose: wanted output simcc_x float \[P, K, 384\], got simcc_x float"),
    ],
)
def test_other_networks_are_refused(two: Path, change: dict[str, int], complaint: str) -> None:
    poses(two.parent / "rtmpose.onnx", **change)
    with pytest.raises(ModelError, match=complaint):
        open_engine(two, ON_CPU)


@pytest.mark.parametrize("where", ["box", "score", "keypoint"])
def test_numbers_that_are_not_finite_fail_the_batch(two: Path, where: str) -> None:
    dets = np.array([(10, 20, 30, 50, 0.9)], np.float32)
    if where != "keypoint":
        dets[0, 4 if where == "score" else 2] = np.inf
        constant(two.parent / "yolox.onnx", dets, shape=(1, 3, 416, 416))
    engine = RtmposeEngine(two, ON_CPU)
    image = PHOTO
    if where == "keypoint":
        engine._run = lambda count: tuple(  # type: ignore[method-assign,return-value,assignment]
            np.full((count, 26, length), np.nan, np.float32) for length in (384, 512)
        )
    engine.fill(batch := engine.new_batch(1), 0, image)
    with pytest.raises(EngineError, match="not a finite number"):
        engine.infer(batch, [0])


def test_a_missing_runtime_is_one_line(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match=re.escape("pip install 'kinestream[openvino]'")):
        open_engine(two, EngineOptions(runtime="openvino"))
