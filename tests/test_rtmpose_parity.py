"""Our two stages against rtmlib's `YOLOX` and `RTMPose`, which nobody here wrote: same files, same image.

rtmlib looks at one person a call, and takes the whole picture for a person where its detector finds nobody;
ours then gives nobody. Pictures are those of `noise.py`; where they are there, photographs of people, whom
the real detector finds. RTMPose's own weights cannot be had: graphs of its inputs and outputs stand for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rtmlib import YOLOX, RTMPose

from kinestream.messages import Person
from kinestream.video import read_video
from kinestream_workers.engines import EngineOptions
from kinestream_workers.engines.crops import crop_into
from kinestream_workers.engines.rtmpose import MAX_TOGETHER, RtmposeEngine
from noise import SIZES, blank, noise
from rtmpose_graphs import detector, pair, poses

SHARED = Path(__file__).parent.parent / "../shared"
YOLOX_NANO = SHARED / "models/yolox_nano_8xb8-300e_humanart-40f6f0d0.onnx"
PEOPLE = SHARED / "media/people.jpg"

ON_CPU = EngineOptions(device="cpu")

NOISE = [noise(*size, seed) for seed, size in enumerate(SIZES)]
BLANK = [blank(640, 480, 114), blank(100, 900, 114)]
IMAGES = [image for two in itertools.zip_longest(NOISE, BLANK) for image in two if image is not None]


Theirs = tuple[NDArray[np.float32], NDArray[np.float64]]
"""One person as rtmlib finds it: the box, and keypoints [K, 3]."""


class Rtmlib:
    """rtmlib's answers, with its own classes and defaults, for sizes as (height, width)."""

    def __init__(self, detector: Path, poses: Path, det_size: tuple[int, int], pose_size: tuple[int, int]):
        self.detector = YOLOX(str(detector), model_input_size=det_size, backend="onnxruntime", device="cpu")
        height, width = pose_size
        self.poses = RTMPose(str(poses), (width, height), backend="onnxruntime", device="cpu")

    def people(self, image: NDArray[np.uint8]) -> list[Theirs]:
        boxes = self.detector(image)
        if not len(boxes):
            assert len(self.poses(image, bboxes=boxes)[0]) == 1, "rtmlib no longer invents a person"
            return []
        keypoints, scores = self.poses(image, bboxes=boxes)
        return list(zip(boxes, np.concatenate([keypoints, scores[..., None]], axis=2), strict=True))


def check_equal(ours: Sequence[Person], theirs: Sequence[Theirs]) -> None:
    """The same people; ours come best first, and rtmlib's in the order of the file."""
    assert len(ours) == len(theirs)
    assert [person.score for person in ours] == sorted((person.score for person in ours), reverse=True)
    left = list(theirs)
    for person in ours:
        at = min(range(len(left)), key=lambda index: np.abs(left[index][0] - person.box).max())
        box, keypoints = left.pop(at)
        np.testing.assert_allclose(person.box, box, rtol=0, atol=1e-3)
        np.testing.assert_allclose(person.keypoints, keypoints, rtol=0, atol=1e-3)


def check_batches(
    engine: RtmposeEngine,
    images: Sequence[NDArray[np.uint8]],
    theirs: Sequence[list[Theirs]],
) -> None:
    """Run all images in batches of 1, 3 and 8, in one memory that is never cleaned in between."""
    memory = engine.new_batch(8)
    for size in (1, 3, 8):
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            for slot, image in enumerate(batch):
                engine.fill(memory, slot, image)
            found = engine.infer(memory, range(len(batch)))
            for ours, expected in zip(found, theirs[start : start + size], strict=True):
                check_equal(ours, expected)


@pytest.mark.parametrize(
    ("det_batch", "pose_batch", "keypoints", "pose_size"),
    [
        (1, None, 17, (256, 192)),
        (None, 1, 26, (256, 192)),
        (4, 5, 17, (384, 288)),
        (None, None, 26, (384, 288)),
    ],
    ids=["published", "dynamic-fixed", "odd-fixed", "dynamic"],
)
def test_the_same_people_in_every_batch(
    tmp_path: Path, det_batch: int | None, pose_batch: int | None, keypoints: int, pose_size: tuple[int, int]
) -> None:
    one = poses(tmp_path / "pose1.onnx", keypoints=keypoints, size=pose_size)
    rtmlib = Rtmlib(detector(tmp_path / "det1.onnx"), one, (416, 416), pose_size)
    theirs = [rtmlib.people(image) for image in IMAGES]
    counts = [len(people) for people in theirs]
    assert 0 in counts and len(set(counts)) >= 4 and sum(counts) > 2 * MAX_TOGETHER, "a dull crowd"
    scores = np.concatenate([points[:, 2] for people in theirs for _, points in people])
    assert (scores <= 0).any() and (scores > 0).any(), "dull keypoints"
    engine = RtmposeEngine(
        pair(
            tmp_path,
            detector(tmp_path / "det.onnx", batch=det_batch),
            poses(tmp_path / "pose.onnx", batch=pose_batch, keypoints=keypoints, size=pose_size),
        ),
        ON_CPU,
    )
    assert engine.skeleton == {17: "coco17", 26: "halpe26"}[keypoints]
    check_batches(engine, IMAGES, theirs)


def test_people_whom_the_real_detector_finds(tmp_path: Path) -> None:
    for path in (YOLOX_NANO, PEOPLE):
        if not path.is_file():
            pytest.skip(f"{path} is not there: test models and photographs are not part of the project")
    photo = cv2.imread(str(PEOPLE))
    assert photo is not None
    films = [SHARED / "media" / name for name in ("walker.mp4", "multiperson_cam01.mp4")]
    walking = [next(read_video(film)).image for film in films if film.is_file()]
    images = [photo, cv2.resize(photo, (640, 431)), photo[:, 300:].copy(), *walking, blank(640, 480, 114)]
    look = poses(tmp_path / "pose.onnx", keypoints=26)
    rtmlib = Rtmlib(YOLOX_NANO, look, (416, 416), (256, 192))
    theirs = [rtmlib.people(image) for image in images]
    assert len(theirs[0]) >= 4 and theirs[-1] == [] and all(theirs[:-1])
    engine = RtmposeEngine(pair(tmp_path, YOLOX_NANO, look), ON_CPU)
    check_batches(engine, images, theirs)
    engine.fill(memory := engine.new_batch(1), 0, photo)
    (people,) = engine.infer(memory, [0])
    for ours, (box, _) in zip(people, theirs[0], strict=True):
        np.testing.assert_allclose(ours.box, box, atol=1e-3, err_msg="its file is best first already")


def test_a_crop_is_rtmlibs_to_the_bit(tmp_path: Path) -> None:
    """Boxes in the middle, over every edge, outside, of every shape, and of no area at all."""
    random = np.random.default_rng(8)
    rtmpose = Rtmlib(detector(tmp_path / "d.onnx"), poses(tmp_path / "p.onnx"), (416, 416), (256, 192)).poses
    slot = np.full((3, 256, 192), np.nan, np.float32)  # what is not overwritten shows
    for image in NOISE[:9]:
        height, width = image.shape[:2]
        corners = random.uniform(-0.3, 1.2, (12, 2, 2)) * (width, height)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
        boxes[0, 2:] = boxes[0, :2]
        for box in boxes:
            expected, centre, size = rtmpose.preprocess(image, box)
            crop = crop_into(image, box, slot)
            np.testing.assert_array_equal(crop.centre, centre)
            np.testing.assert_array_equal(crop.size, size)
            np.testing.assert_array_equal(slot, expected.astype(np.float32).transpose(2, 0, 1))
