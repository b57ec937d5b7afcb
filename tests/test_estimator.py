"""Poses in one process: what the estimator gives is the truth, and what a worker would have said.

Not for: webcams and drawing (`test_estimator_webcam.py`, `test_estimator_drawing.py`), nor what engines do.
"""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from redis.asyncio import Redis

from kinestream.errors import EngineError, ModelError, UsageError
from kinestream.keys import Keys
from kinestream.messages import Frame
from kinestream.testcard import TestCard, compare
from kinestream_workers import RealTimePoseEstimator, estimator
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.models import resolve_model
from noise import noise
from oddengine import Image, blank, person, use_engine
from pipeline import MEDIA
from rtmpose_graphs import detector, pair, poses
from working import begin_run, wait_for_records, working

MODELS = MEDIA.parent / "models"
CARD = TestCard(athletes=4, motion="walk", seed=4711)
TIMES_S = [number * 0.7 for number in range(12)]


@pytest.fixture(scope="module")
def testcard() -> Iterator[RealTimePoseEstimator]:
    """An estimator that reads test cards."""
    with RealTimePoseEstimator("testcard", device="cpu", threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def image() -> Image:
    """A test card with people on it."""
    return CARD.draw(1.0)


class Gated(RtmoEngine):
    """The true engine, with the gate that `working` opens on its way out."""

    gate = threading.Event()


def test_people_are_where_they_were_drawn(testcard: RealTimePoseEstimator) -> None:
    errors_px, missed = [], 0
    for time_s in TIMES_S:
        result = testcard.process_frame(CARD.draw(time_s))
        read = np.concatenate([result.keypoints, result.scores[..., None]], axis=2)
        compared = compare(CARD.truth(time_s), read)
        errors_px.append(compared.errors_px)
        missed += compared.missed
        assert compared.invented == 0
    errors = np.concatenate(errors_px)
    assert len(errors) > 400 and missed == 0, f"of {len(errors) + missed} joints {missed} missed"
    assert errors.max() <= 1.5


def test_what_a_result_consists_of(testcard: RealTimePoseEstimator, image: Image) -> None:
    before = time.time()
    result = testcard.process_frame(image)
    assert before <= result.timestamp <= time.time()
    assert (result.width, result.height) == (1280, 720)
    assert result.skeleton == "coco17" and not result.repeated
    count = len(result.people)
    assert count >= 3
    assert result.keypoints.shape == (count, 17, 2) and result.keypoints.dtype == np.float64
    assert result.scores.shape == (count, 17) and result.scores.dtype == np.float64
    told = [[(x, y) for x, y, _ in person.keypoints] for person in result.people]
    np.testing.assert_array_equal(result.keypoints, told)
    np.testing.assert_array_equal(
        result.scores, [[s for *_, s in person.keypoints] for person in result.people]
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.fps = 1.0  # type: ignore[misc]
    assert testcard.process_frame(image, timestamp=12.5).timestamp == 12.5


async def test_it_is_what_a_worker_says(
    testcard: RealTimePoseEstimator, image: Image, redis: Redis, keys: Keys
) -> None:
    run = await begin_run(redis, keys, "camera")
    frame = Frame(
        camera="camera",
        run=run.number,
        seq=0,
        captured_us=1,
        width=1280,
        height=720,
        view=(0, 0, 1280, 720),
        codec="png",
        data=cv2.imencode(".png", image)[1].tobytes(),
        lane="every-frame",
    )
    engine = Gated(resolve_model("testcard"), EngineOptions(device="cpu", threads=1))
    async with working(redis, keys, engine):  # type: ignore[arg-type]
        assert await run.offer(frame) == "ok"
        (record,) = await wait_for_records(redis, keys, 1)
    result = testcard.process_frame(image)
    assert result.people == record.people != ()
    assert result.skeleton == record.skeleton


def test_nobody_is_nobody(testcard: RealTimePoseEstimator) -> None:
    result = testcard.process_frame(blank())
    assert result.people == ()
    assert result.keypoints.shape == (0, 17, 2) and result.scores.shape == (0, 17)
    np.testing.assert_array_equal(testcard.draw_skeleton(blank(), result), blank())


def test_any_view_of_a_picture_will_do(
    testcard: RealTimePoseEstimator, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = np.zeros((720, 1500, 3), np.uint8)
    wide[:, 100:1380] = image
    part = wide[:, 100:1380]
    part.flags.writeable = False
    assert testcard.process_frame(part).people == testcard.process_frame(image).people != ()
    flipped = testcard.process_frame(image[:, ::-1])
    assert flipped.people == testcard.process_frame(image[:, ::-1].copy()).people != ()
    by_channel = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    np.testing.assert_array_equal(
        testcard.draw_skeleton(by_channel, flipped), testcard.draw_skeleton(image, flipped)
    )
    engine = use_engine(monkeypatch)
    RealTimePoseEstimator().process_frame(by_channel)
    assert engine.sizes[-1] == (720, 1280, 3)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (None, "got None, which is what OpenCV gives when it cannot read a picture"),
        ("people.jpg", "got str"),
        ([[[0, 0, 0]]], "got list"),
        (np.zeros((4, 4), np.uint8), r"got uint8 \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"got uint8 \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), r"got float32 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"got uint8 \[0, 4, 3\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"got uint8 \[1, 4, 4, 3\]"),
    ],
)
def test_what_is_no_picture(testcard: RealTimePoseEstimator, given: Any, complaint: str) -> None:
    result = testcard.process_frame(blank())
    for call in (testcard.process_frame, lambda bad: testcard.draw_skeleton(bad, result)):
        with pytest.raises(ValueError, match=rf"uint8 \[rows, columns, 3\].*{complaint}") as caught:
            call(given)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "error", "complaint"),
    [
        ({"every": 0}, UsageError, "every must be at least 1, got 0"),
        ({"max_side": 15}, UsageError, "max_side must be at least 16 pixels, got 15"),
        ({"threads": 0}, UsageError, "threads must be 1 to 1024, got 0"),
        ({"device": "gpu"}, UsageError, "device must be .* got 'gpu'"),
        ({"require_device": True}, UsageError, "require-device needs the device's name"),
        ({"engine": "none"}, UsageError, "there is no engine 'none'"),
        ({"mode": "rtmpose"}, UsageError, "testcard is no model of the mode rtmpose"),
        ({"precision": "bf16"}, UsageError, "precision bf16 needs --runtime openvino"),
        ({"runtime": "torch"}, UsageError, "runtime must be one of onnxruntime, openvino"),
        ({"model": "gone.onnx"}, ModelError, r"gone\.onnx"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        RealTimePoseEstimator(**{"model": "testcard", **settings})


def test_without_a_model_it_says_which_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    """No test may download one, so this is the fallback."""
    with caplog.at_level(logging.INFO), RealTimePoseEstimator(threads=1) as auto:
        assert auto.description in caplog.text
        assert auto.description.startswith("rtmo testcard-dynamic on ")
        assert auto.process_frame(blank()).people == ()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_two_stages(tmp_path: Path, runtime: str) -> None:
    """What `max_side` shrinks comes back in pixels of the picture, feet included."""
    path = pair(
        tmp_path, detector(tmp_path / "det.onnx", batch=1), poses(tmp_path / "pose.onnx", keypoints=26)
    )
    picture = noise(1280, 720, 3)
    found = []
    for max_side in (None, 640):
        with RealTimePoseEstimator(
            path, mode="rtmpose", runtime=runtime, threads=1, max_side=max_side
        ) as two:
            found.append(two.process_frame(picture))
    whole, shrunk = found
    assert whole.skeleton == "halpe26" and len(whole.people) > 1
    assert whole.keypoints.shape == (len(whole.people), 26, 2) and whole.scores.shape[1] == 26
    assert len(shrunk.people) == len(whole.people)
    np.testing.assert_allclose(shrunk.people[0].box, whole.people[0].box, atol=8)


def test_every_third_picture(image: Image) -> None:
    with RealTimePoseEstimator("testcard", threads=1, every=3) as sparing:
        pictures = [CARD.draw(number / 30) for number in range(7)]
        results = [sparing.process_frame(picture, number) for number, picture in enumerate(pictures)]
    assert [result.repeated for result in results] == [False, True, True, False, True, True, False]
    assert [result.timestamp for result in results] == [0, 0, 0, 3, 3, 3, 6]
    first, again, _, third, *_ = results
    assert again.people == first.people != third.people
    np.testing.assert_array_equal(again.keypoints, first.keypoints)
    again.keypoints[:] = 0.0
    assert first.keypoints.any(), "changing one result changes no other"
    assert first.fps == 0.0 < again.fps


def test_a_large_picture_is_made_smaller_and_nobody_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    card = TestCard(athletes=3, motion="squat", seed=5, width=2560, height=1440)
    with RealTimePoseEstimator("testcard", threads=1, max_side=1280) as smaller:
        result = smaller.process_frame(card.draw(2.0))
        small = smaller.process_frame(image_of(card, 2.0, 1280))
    read = np.concatenate([result.keypoints, result.scores[..., None]], axis=2)
    compared = compare(card.truth(2.0), read)
    assert len(compared.errors_px) > 30 and compared.invented == 0
    assert compared.errors_px.max() <= 3.0, "half the size, twice the error"
    np.testing.assert_array_equal(result.keypoints, 2 * small.keypoints)

    engine = use_engine(monkeypatch)
    given = [(720, 1280), (360, 640), (1000, 100), (480, 640), (2, 4000)]
    for height, width in given:
        RealTimePoseEstimator(max_side=640).process_frame(blank(width, height))
    assert [size for size in engine.sizes if size[:2] != (480, 640)] == [
        (360, 640, 3),
        (360, 640, 3),
        (640, 64, 3),
        (1, 640, 3),
    ]


def image_of(card: TestCard, time_s: float, width: int) -> Image:
    """A card's picture, shrunk by OpenCV."""
    size = width, card.height * width // card.width
    return np.asarray(cv2.resize(card.draw(time_s), size, interpolation=cv2.INTER_AREA), np.uint8)


def test_fps_is_the_rate_of_the_last_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    use_engine(monkeypatch)
    estimating = RealTimePoseEstimator()
    now_s = 100.0
    monkeypatch.setattr(estimator.time, "monotonic", lambda: now_s)
    assert estimating.process_frame(blank()).fps == 0.0
    assert estimating.process_frame(blank()).fps == 0.0, "two calls at the same time have no rate"
    now_s += 0.1
    assert estimating.process_frame(blank()).fps == pytest.approx(20.0)
    for _ in range(estimator.FPS_CALLS):
        now_s += 0.05
        result = estimating.process_frame(blank())
    assert result.fps == pytest.approx(20.0)
    for _ in range(estimator.FPS_CALLS):
        now_s += 0.5
        result = estimating.process_frame(blank())
    assert result.fps == pytest.approx(2.0), "what was longer ago no longer counts"


def test_an_engine_of_another_skeleton(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = use_engine(monkeypatch)
    estimating = RealTimePoseEstimator()
    assert estimating.process_frame(blank()).keypoints.shape == (0, 0, 2)
    engine.people = (person(3), person(3))
    result = estimating.process_frame(blank())
    assert result.skeleton == "odd"
    assert result.keypoints.shape == (2, 3, 2) and result.scores.tolist() == [[0.5, 0.75, 0.5]] * 2
    drawn = estimating.draw_skeleton(blank(), result)
    assert (drawn != blank()).any(), "an unknown skeleton has points and boxes"


@pytest.mark.parametrize("skeleton", ["odd", "coco17"])
def test_people_whose_keypoints_do_not_fit(monkeypatch: pytest.MonkeyPatch, skeleton: str) -> None:
    engine = use_engine(monkeypatch, person(2), person(3))
    engine.skeleton = skeleton
    with pytest.raises(EngineError, match=rf"keypoints \({skeleton}\), the engine gave 2, 3"):
        RealTimePoseEstimator().process_frame(blank())


def test_an_engine_is_closed_once_and_not_used_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = use_engine(monkeypatch)
    with RealTimePoseEstimator() as estimating:
        assert engine.closed == 0
    estimating.close()
    assert engine.closed == 1
    with pytest.raises(RuntimeError, match="this estimator is closed"):
        estimating.process_frame(blank())
    engine.broken = True
    with pytest.raises(EngineError, match="the test said so"):
        RealTimePoseEstimator()
    assert engine.closed == 2, "also one that does not come up"


def test_people_by_mediapipe() -> None:
    picture, model = MEDIA / "people.jpg", MODELS / "pose_landmarker_lite.task"
    for path in (picture, model):
        if not path.exists():
            pytest.skip(f"there is no {path}: it is not part of the repository")
    pytest.importorskip("mediapipe", reason="needs the extra: pip install 'kinestream[mediapipe]'")
    image = cv2.imread(str(picture))
    assert image is not None
    rows, columns = image.shape[:2]
    with RealTimePoseEstimator(model) as estimating:
        result = estimating.process_frame(np.asarray(image, np.uint8))
        nobody = estimating.process_frame(blank())
    assert result.skeleton == "blazepose33"
    count = len(result.people)
    assert count >= 1 and result.keypoints.shape == (count, 33, 2) and result.scores.shape == (count, 33)
    seen = result.keypoints[result.scores > 0.8]
    assert len(seen) >= 5 and (seen > 0).all() and (seen < (columns, rows)).all()
    assert nobody.keypoints.shape == (0, 33, 2)


def test_importing_the_package_stays_cheap() -> None:
    program = (
        "import sys, kinestream_workers\n"
        "assert not {'cv2', 'numpy', 'onnxruntime'} & set(sys.modules), 'imported too early'\n"
        "from kinestream_workers import Estimate, RealTimePoseEstimator\n"
        "assert RealTimePoseEstimator.__name__ in dir(kinestream_workers)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(ImportError, match="RealTimeEstimator"):
        exec("from kinestream_workers import RealTimeEstimator")
