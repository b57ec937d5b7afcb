"""The engine around the network: which files it takes, what comes out in which pixels, what breaks it.

That its people are rtmlib's is shown in `test_rtmo_parity.py`, devices and threads in `test_sessions.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from kinestream.errors import EngineError, ModelError
from kinestream.messages import MAX_PEOPLE, Person, PoseResult
from kinestream_workers.engines import Engine, EngineOptions, open_engine, warm_up
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.models import PACKAGED, resolve_model
from rtmo_graphs import JOINTS, constant, crowd

FLOAT = TensorProto.FLOAT


def rows(*dets: tuple[float, float, float, float, float]) -> NDArray[np.float32]:
    return np.array(dets, np.float32).reshape(-1, 5)


ONE = rows((10, 20, 30, 50, 0.9))


def opened(path: Path, threads: int = 1) -> RtmoEngine:
    return RtmoEngine(path, EngineOptions(device="cpu", threads=threads))


def test_an_engine_says_what_came_up(tmp_path: Path) -> None:
    dynamic = opened(crowd(tmp_path / "net-a.onnx", size=(192, 320)), threads=2)
    assert dynamic.name == "net-a" and dynamic.skeleton == "coco17" and dynamic.input_size == (320, 192)
    assert dynamic.description == "rtmo net-a on CPUExecutionProvider, 2 threads, batch dynamic, 320x192"
    fixed = opened(crowd(tmp_path / "net-b.onnx", batch=4))
    assert fixed.description == "rtmo net-b on CPUExecutionProvider, 1 thread, batch 4, 640x640"


@pytest.mark.parametrize("model", sorted({*PACKAGED} - {"null"}))
def test_packaged_models_need_no_path(model: str) -> None:
    engine = open_engine(model)
    assert f"batch {'1' if 'fixed' in model else 'dynamic'}, 640x640" in engine.description
    assert warm_up(engine, 2).keys() == {1, 2}


def test_a_path_may_be_named_as_a_packaged_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    crowd(tmp_path / "testcard")
    assert resolve_model("testcard") != resolve_model("./testcard") == Path("testcard")


@pytest.mark.parametrize("make", ["nothing", "a folder", "an empty file", "text"])
def test_files_that_are_no_models(tmp_path: Path, make: str) -> None:
    path = tmp_path / "model.onnx"
    if make == "a folder":
        path.mkdir()
    elif make != "nothing":
        path.write_text("" if make == "an empty file" else "this is not ONNX")
    with pytest.raises(ModelError, match=r"model\.onnx") as caught:
        open_engine(path)
    assert "\n" not in str(caught.value)


def test_a_missing_model_names_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"rtmo-s\.onnx: No such file .* testcard, testcard-fixed"):
        open_engine("rtmo-s.onnx")


GOOD_IN = {"input": (FLOAT, ("b", 3, 64, 64))}
GOOD_OUT = {"dets": (FLOAT, ("b", "n", 5)), "keypoints": (FLOAT, ("b", "n", JOINTS, 3))}


@pytest.mark.parametrize(
    "inputs, outputs, complaint",
    [
        ({"images": GOOD_IN["input"]}, GOOD_OUT, "got images float [b, 3, 64, 64]"),
        ({"input": (TensorProto.UINT8, ("b", 3, 64, 64))}, GOOD_OUT, "got input uint8 [b, 3, 64, 64]"),
        ({"input": (FLOAT, ("b", 64, 64, 3))}, GOOD_OUT, "got input float [b, 64, 64, 3]"),
        ({"input": (FLOAT, ("b", 3, 4096))}, GOOD_OUT, "got input float [b, 3, 4096]"),
        ({"input": (FLOAT, ("b", 3, "h", "w"))}, GOOD_OUT, "no fixed input size"),
        (GOOD_IN | {"scale": (FLOAT, (2,))}, GOOD_OUT, "got input float [b, 3, 64, 64], scale float [2]"),
        (GOOD_IN, {"dets": GOOD_OUT["dets"]}, "wanted output keypoints float [B, N, 17, 3], got dets float"),
        (GOOD_IN, {"keypoints": GOOD_OUT["keypoints"]}, "wanted output dets float [B, N, 5]"),
    ],
)
def test_files_that_break_the_contract(
    tmp_path: Path, inputs: dict[str, object], outputs: dict[str, object], complaint: str
) -> None:
    path = constant(tmp_path / "other.onnx", ONE, inputs=inputs, outputs=outputs)  # type: ignore[arg-type]
    with pytest.raises(ModelError) as caught:
        opened(path)
    assert complaint in str(caught.value) and "other.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_skeleton_is_refused(tmp_path: Path) -> None:
    hands = np.zeros((1, 21, 3), np.float32)
    outputs = {"dets": GOOD_OUT["dets"], "keypoints": (FLOAT, ("b", "n", 21, 3))}
    with pytest.raises(ModelError, match=r"wanted output keypoints float \[B, N, 17, 3\]"):
        opened(constant(tmp_path / "hands.onnx", ONE, hands, outputs=outputs))


def test_a_file_that_declares_no_shapes_is_judged_by_its_output(tmp_path: Path) -> None:
    engine = opened(constant(tmp_path / "vague.onnx", ONE, vague=True))
    assert len(people_of(engine, 1)[0]) == 1
    two_joints = np.zeros((1, 2, 3), np.float32)
    engine = opened(constant(tmp_path / "liar.onnx", ONE, two_joints, vague=True))
    with pytest.raises(
        EngineError, match=r"keypoints \[1, 1, 2, 3\] for a batch of 1, wanted .* \[1, N, 17, 3\]"
    ):
        warm_up(engine, 1)


def people_of(engine: Engine, images: int) -> list[tuple[Person, ...]]:
    """What the engine finds in so many black images of 64×32, in a network of 64×64."""
    batch = engine.new_batch(images)
    for slot in range(images):
        engine.fill(batch, slot, np.zeros((32, 64, 3), np.uint8))
    return engine.infer(batch, range(images))


@pytest.mark.parametrize("batch_axis", ["batch", 1, 4])
@pytest.mark.parametrize("images", [1, 3, 4, 5, 8])
def test_every_image_gets_its_people(tmp_path: Path, batch_axis: object, images: int) -> None:
    """A fixed axis of 4 is padded for 1, 3 and 5 images; nobody comes out for the padding."""
    engine = opened(constant(tmp_path / "one.onnx", ONE, shape=(batch_axis, 3, 64, 64)))
    found = people_of(engine, images)
    assert [len(people) for people in found] == [1] * images


@pytest.mark.parametrize("batch_axis", [None, 4])
def test_any_slots_in_any_order(tmp_path: Path, batch_axis: int | None) -> None:
    """Slots that need no engine are left out; each image keeps its own people and its own scale."""
    engine = opened(crowd(tmp_path / "crowd.onnx", batch=batch_axis))
    random = np.random.default_rng(5)
    images = [
        np.repeat(np.repeat(random.integers(0, 256, (4, 4, 3), np.uint8), rows, 0), columns, 1)
        for rows, columns in [(40, 80), (90, 60), (160, 160), (20, 70), (100, 30)]
    ]
    batch = engine.new_batch(5)
    for slot, image in enumerate(images):
        engine.fill(batch, slot, image)
    alone = [engine.infer(batch, [slot])[0] for slot in range(5)]
    assert sum(map(len, alone)) > 8
    for slots in ([0, 1, 2, 3, 4], [1, 2], [0, 2, 4], [3, 1], [4], []):
        together = engine.infer(batch, slots)
        assert [len(people) for people in together] == [len(alone[slot]) for slot in slots]
        for people, slot in zip(together, slots, strict=True):
            for person, expected in zip(people, alone[slot], strict=True):
                np.testing.assert_allclose(person.box, expected.box, atol=1e-3)


def test_the_tensor_starts_as_padding_and_belongs_to_the_caller(tmp_path: Path) -> None:
    engine = opened(crowd(tmp_path / "net.onnx", size=(192, 320)))
    tensor = engine.new_batch(3).tensor
    assert tensor.shape == (3, 3, 192, 320) and tensor.dtype == np.float32 and (tensor == 114).all()
    assert not np.shares_memory(tensor, engine.new_batch(3).tensor)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        engine.new_batch(0)


@pytest.mark.parametrize(
    "dets", [rows(), rows((0, 0, 0, 0, 0)), rows((1, 1, 9, 9, 0.7), (20, 20, 30, 30, 0.3))]
)
def test_nobody_is_nobody(tmp_path: Path, dets: NDArray[np.float32]) -> None:
    """No rows, padding rows, rows that do not pass the score: no people, and no person of zeros."""
    assert people_of(opened(constant(tmp_path / "none.onnx", dets)), 2) == [(), ()]


def test_people_come_in_image_pixels_best_first(tmp_path: Path) -> None:
    path = constant(tmp_path / "two.onnx", rows((40, 8, 48, 24, 0.8), (4, 4, 20, 12, 0.95)))
    engine = opened(path)
    first, second = people_of(engine, 1)[0]
    assert (first.box, second.box) == ((4, 4, 20, 12), (40, 8, 48, 24))  # the image is as wide as the network
    assert first.score == pytest.approx(0.95) and second.score == pytest.approx(0.8)
    assert first.keypoints == ((12, 8, 1),) * JOINTS


def test_results_are_plain_floats_that_a_message_takes(tmp_path: Path) -> None:
    people = people_of(opened(constant(tmp_path / "one.onnx", ONE)), 1)[0]
    person = people[0]
    assert {type(value) for value in (*person.box, person.score, *person.keypoints[0])} == {float}
    result = PoseResult(camera="c", run=1, seq=0, status="ok", people=people, skeleton="coco17")
    assert PoseResult.unpack(result.pack()).people == people


def test_points_outside_the_image_are_kept(tmp_path: Path) -> None:
    person = people_of(opened(constant(tmp_path / "out.onnx", rows((-20, -10, 90, 70, 0.9)))), 1)[0][0]
    assert person.box == (-20, -10, 90, 70)


def test_more_people_than_a_message_holds(tmp_path: Path) -> None:
    many = MAX_PEOPLE + 20
    dets = np.zeros((many, 5), np.float32)
    dets[:, 0] = np.arange(many) * 10
    dets[:, 2] = dets[:, 0] + 5
    dets[:, 3], dets[:, 4] = 5, np.linspace(0.75, 0.99, many)
    people = people_of(opened(constant(tmp_path / "many.onnx", dets)), 1)[0]
    assert len(people) == MAX_PEOPLE
    assert people[0].box[0] == (many - 1) * 10 and people[-1].box[0] == 20 * 10, "not the best ones"


@pytest.mark.parametrize("where", ["box", "keypoint", "score"])
def test_numbers_that_are_not_finite_fail_the_batch(tmp_path: Path, where: str) -> None:
    dets, keypoints = ONE.copy(), np.zeros((1, JOINTS, 3), np.float32)
    if where == "keypoint":
        keypoints[0, 3, 1] = np.nan
    else:
        dets[0, 4 if where == "score" else 2] = np.inf
    engine = opened(constant(tmp_path / "wild.onnx", dets, keypoints))
    with pytest.raises(EngineError, match="not a finite number"):
        people_of(engine, 1)


def test_an_error_of_onnxruntime_is_an_engine_error(tmp_path: Path) -> None:
    """A tensor of the wrong size is refused by onnxruntime itself, with a message of many lines."""
    engine = opened(constant(tmp_path / "net.onnx", ONE))
    other = opened(constant(tmp_path / "other.onnx", ONE, shape=("batch", 3, 32, 32)))
    with pytest.raises(EngineError, match="net failed on a batch of 2: ") as caught:
        engine.infer(other.new_batch(2), [0, 1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("max_batch, sizes", [(1, {1}), (2, {1, 2}), (6, {1, 2, 4, 6}), (8, {1, 2, 4, 8})])
def test_warm_up_tells_the_cost_of_each_size(tmp_path: Path, max_batch: int, sizes: set[int]) -> None:
    costs_ms = warm_up(opened(crowd(tmp_path / "net.onnx")), max_batch)
    assert costs_ms.keys() == sizes and all(cost > 0 for cost in costs_ms.values())
