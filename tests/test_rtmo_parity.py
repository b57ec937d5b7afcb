"""Our batched engine against rtmlib's `RTMO`, which nobody here wrote: same file, same image, same people.

rtmlib runs one image a call, gives a person of zeros where it finds nobody, and gives no boxes; those are
compared with what its own `multiclass_nms` makes of item 0. It is never given the batches that ours runs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rtmlib import RTMO
from rtmlib.tools.object_detection.post_processings import multiclass_nms

from kinestream.messages import Frame, Person
from kinestream.testcard import TestCard
from kinestream_workers.decoding import decode, in_source
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.letterbox import letterbox_into
from kinestream_workers.engines.nms import keep_best
from kinestream_workers.engines.rtmo import RtmoEngine
from kinestream_workers.models import resolve_model
from noise import SIZES, blank, noise
from rtmo_graphs import crowd

ON_CPU = EngineOptions(device="cpu")

TOLERANCE = 1e-3
"""Pixels, and score."""

PEOPLE = Path(__file__).parent.parent / "../shared/media/people.jpg"


NOISE = [noise(*size, seed) for seed, size in enumerate(SIZES)]
BLANK = [blank(640, 480, 114), blank(100, 900, 114), blank(1280, 720, 0), blank(31, 31, 255)]


def frame_of(image: NDArray[np.uint8], codec: str = "raw") -> Frame:
    height, width = image.shape[:2]
    data = image.tobytes() if codec == "raw" else cv2.imencode(f".{codec}", image)[1].tobytes()
    return Frame(
        camera="parity", run=1, seq=0, captured_us=0, width=width, height=height, view=(0, 0, width, height),
        codec=codec, data=data, lane="live",
    )  # fmt: skip


class Theirs(NamedTuple):
    """One person as rtmlib finds it."""

    box: NDArray[np.float32]
    score: float
    keypoints: NDArray[np.float32]


class Rtmlib:
    """rtmlib's answers, asked once an image."""

    def __init__(self, path: Path, size: tuple[int, int] = (640, 640)) -> None:
        self.rtmo = RTMO(str(path), model_input_size=size, backend="onnxruntime", device="cpu")

    def people(self, image: NDArray[np.uint8]) -> list[Theirs]:
        letterboxed, ratio = self.rtmo.preprocess(image)
        dets = self.rtmo.inference(letterboxed)[0]
        boxes, kept = multiclass_nms(
            dets[0, :, :4] / ratio, dets[0, :, 4:], nms_thr=self.rtmo.nms_thr, score_thr=self.rtmo.score_thr
        )
        keypoints, scores = self.rtmo(image)
        if kept is None:
            assert not keypoints.any() and not scores.any(), "rtmlib's phantom is no longer a person of zeros"
            return []
        return [
            Theirs(box[:4], box[4], np.column_stack([points, joint_scores]))
            for box, points, joint_scores in zip(boxes, keypoints, scores, strict=True)
        ]


def check_equal(ours: Sequence[Person], theirs: Sequence[Theirs]) -> None:
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our.box, their.box, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(our.score, their.score, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(our.keypoints, their.keypoints, rtol=0, atol=TOLERANCE)


def check_batches(engine: RtmoEngine, frames: Sequence[Frame], theirs: Sequence[list[Theirs]]) -> None:
    """Run all frames in batches of 1, 3 and 8, all in one memory that is never cleaned in between."""
    memory = engine.new_batch(8)
    for size in (1, 3, 8):
        for start in range(0, len(frames), size):
            batch = frames[start : start + size]
            for slot, frame in enumerate(batch):
                engine.fill(memory, slot, decode(frame))
            found = engine.infer(memory, range(len(batch)))
            for frame, ours, expected in zip(batch, found, theirs[start : start + size], strict=True):
                check_equal(in_source(ours, frame), expected)


@pytest.mark.parametrize("batch", [None, 1, 4], ids=["dynamic", "fixed-1", "fixed-4"])
def test_a_crowd_is_the_same_in_every_batch(tmp_path: Path, batch: int | None) -> None:
    images = [image for pair in itertools.zip_longest(NOISE, BLANK) for image in pair if image is not None]
    rtmlib = Rtmlib(crowd(tmp_path / "one.onnx", batch=1))
    theirs = [rtmlib.people(image) for image in images]
    counts = [len(people) for people in theirs]
    assert counts.count(0) >= 2 and len(set(counts)) >= 4 and max(counts) >= 8, "a dull crowd"
    engine = RtmoEngine(crowd(tmp_path / "crowd.onnx", batch=batch), ON_CPU)
    check_batches(engine, [frame_of(image) for image in images], theirs)


def test_an_input_that_is_not_square(tmp_path: Path) -> None:
    path = crowd(tmp_path / "oblong.onnx", size=(192, 320), seed=3)
    rtmlib = Rtmlib(path, size=(192, 320))
    theirs = [rtmlib.people(image) for image in NOISE]
    assert sum(map(len, theirs)) > 20
    engine = RtmoEngine(path, ON_CPU)
    assert engine.input_size == (320, 192)
    check_batches(engine, [frame_of(image) for image in NOISE], theirs)


def test_the_crowd_exercises_suppression(tmp_path: Path) -> None:
    """Without it the parity above would say little about NMS: more candidates pass the score than survive."""
    rtmlib = Rtmlib(crowd(tmp_path / "crowd.onnx"))
    passed = survived = 0
    for image in NOISE:
        passed += int((rtmlib.rtmo.inference(rtmlib.rtmo.preprocess(image)[0])[0][0, :, 4] > 0.7).sum())
        survived += len(rtmlib.people(image))
    assert survived < 0.7 * passed


@pytest.mark.parametrize("model", ["testcard", "testcard-fixed"])
def test_the_packaged_graphs(model: str) -> None:
    cards = [
        TestCard.parse(f"testcard://?athletes={athletes}&motion={motion}&size={size}&seed={seed}").draw(t_s)
        for athletes, motion, size, seed, t_s in [
            (4, "jump", "1280x720", 3, 0.4), (4, "walk", "1920x1080", 4, 1.1),
            (2, "squat", "1768x994", 5, 0.7),
            (1, "jump", "640x480", 6, 0.2), (3, "walk", "720x1280", 8, 2.0),
        ]
    ]  # fmt: skip
    cards += [cards[0][100:611, 50:1003], cv2.resize(cards[1], (1001, 563)), cards[0][:, ::-1].copy()]
    images = [image for pair in zip(cards, NOISE[: len(cards)], strict=True) for image in pair] + BLANK
    path = resolve_model(model)
    rtmlib = Rtmlib(path)
    theirs = [rtmlib.people(image) for image in images]
    assert sum(map(len, theirs)) >= 10 and [] in theirs
    check_batches(RtmoEngine(path, ON_CPU), [frame_of(image) for image in images], theirs)


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_a_photograph_through_its_codec(tmp_path: Path, codec: str) -> None:
    if not PEOPLE.is_file():
        pytest.skip(
            f"{PEOPLE} is not there: it holds the test photographs, which are not part of the project"
        )
    photo = cv2.imread(str(PEOPLE))
    frames = [frame_of(photo, codec), frame_of(cv2.rotate(photo, cv2.ROTATE_90_CLOCKWISE), codec)]
    path = crowd(tmp_path / "crowd.onnx", seed=5)
    rtmlib = Rtmlib(path)
    theirs = [rtmlib.people(cv2.imdecode(np.frombuffer(frame.data, np.uint8), 1)) for frame in frames]
    assert all(theirs)
    check_batches(RtmoEngine(path, ON_CPU), frames, theirs)


_CORNER = st.one_of(st.integers(0, 24).map(lambda n: n * 2.5), st.just(math.nan))
_BOX = st.tuples(_CORNER, _CORNER, st.integers(-1, 12), st.integers(-1, 12))
_SCORE = st.sampled_from([0.0, 0.3, 0.7, 0.70001, 0.8, 0.8, 0.9, 0.95, 1.0])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(_BOX, _SCORE), max_size=40))
def test_suppression_keeps_what_rtmlib_keeps(candidates: list[tuple[tuple[float, ...], float]]) -> None:
    """Ties, duplicates, boxes without area or inside out, no numbers at all: same boxes, same order."""
    boxes = np.array([(x, y, x + w, y + h) for (x, y, w, h), _ in candidates], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in candidates], np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        _, kept = multiclass_nms(boxes, scores[:, None], nms_thr=0.45, score_thr=0.7)
        assert keep_best(boxes, scores).tolist() == ([] if kept is None else kept.tolist())


def test_an_overlap_of_exactly_the_limit_is_allowed() -> None:
    """9 pixels of 20 are shared: 0.45, which rtmlib lets pass; one more is too much."""
    scores = np.array([0.8, 0.9], np.float32)
    for last, kept in ((13, [1, 0]), (14, [1])):
        boxes = np.array([(5, 0, 19, 0), (0, 0, last, 0)], np.float32)
        assert multiclass_nms(boxes, scores[:, None], nms_thr=0.45, score_thr=0.7)[1].tolist() == kept
        assert keep_best(boxes, scores).tolist() == kept


def test_a_letterbox_is_rtmlibs_to_the_pixel(tmp_path: Path) -> None:
    rtmo = Rtmlib(crowd(tmp_path / "crowd.onnx")).rtmo
    slot = np.full((3, 640, 640), np.nan, np.float32)  # what is not overwritten shows
    for image in [*NOISE, *BLANK]:
        letterboxed, ratio = rtmo.preprocess(image)
        assert letterbox_into(image, slot) == ratio
        np.testing.assert_array_equal(slot, letterboxed.transpose(2, 0, 1))
