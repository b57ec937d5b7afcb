"""The engine mediapipe: MediaPipe's own numbers in pixels, picture by picture, and real people all the way.

Not for: how pictures are cut into squares (see `test_squares.py`).
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from films import check_whole
from kinestream.errors import EngineError, KinestreamError, ModelError, UsageError
from kinestream.messages import Person
from kinestream.skeletons import BLAZEPOSE33
from kinestream_workers.engines import Engine, EngineOptions, engine_names, open_engine, warm_up
from kinestream_workers.engines import mediapipe as module
from kinestream_workers.engines.mediapipe import MAX_POSES, MediapipeEngine
from kinestream_workers.engines.squares import squares
from pipeline import MEDIA, TIMEOUT_S, records_of, run

MODEL = MEDIA.parent / "models" / "pose_landmarker_lite.task"
EVERY = 4
Picture = NDArray[np.uint8]

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="the extra mediapipe is not installed"
)
needs_model = pytest.mark.skipif(
    not MODEL.exists(), reason=f"there is no {MODEL}: models are not part of the repository"
)


def media(name: str) -> Path:
    path = MEDIA / name
    if not path.exists():
        pytest.skip(f"there is no {path}: real pictures are not part of the repository")
    return path


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if not MODEL.exists():
        pytest.skip(f"there is no {MODEL}: models are not part of the repository")
    pytest.importorskip("mediapipe", reason="the extra mediapipe")
    opened = open_engine(MODEL)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def landmarker() -> Iterator[Any]:
    """MediaPipe's own, opened as its documentation shows it."""
    vision = pytest.importorskip("mediapipe.tasks.python.vision", reason="the extra mediapipe")
    from mediapipe.tasks.python import BaseOptions

    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(MODEL)), num_poses=MAX_POSES
    )
    with vision.PoseLandmarker.create_from_options(options) as opened:
        yield opened


@pytest.fixture(scope="module")
def people() -> Picture:
    """A picture of several people, not so long that squares would be looked at."""
    picture: Any = cv2.imread(str(media("people.jpg")))
    assert not squares(picture.shape[1], picture.shape[0])
    return picture


def grey(width: int, height: int) -> Picture:
    return np.full((height, width, 3), 114, np.uint8)


def infer(engine: Engine, *pictures: Picture) -> list[tuple[Person, ...]]:
    batch = engine.new_batch(len(pictures))
    for slot, picture in enumerate(pictures):
        engine.fill(batch, slot, picture)
    return engine.infer(batch, range(len(pictures)))


def raw(landmarker: Any, picture: Picture) -> list[NDArray[np.float64]]:
    """MediaPipe's people, best first: x and y in pixels, and visibility."""
    import mediapipe

    rgb = np.ascontiguousarray(picture[:, :, ::-1])
    found = landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb)).pose_landmarks
    height, width = picture.shape[:2]
    poses = [np.array([(m.x * width, m.y * height, m.visibility) for m in pose]) for pose in found]
    return sorted(poses, key=lambda pose: float(-pose[:, 2].mean()))


def keypoints(people: tuple[Person, ...]) -> list[NDArray[np.float64]]:
    return [np.array(person.keypoints) for person in people]


def refused(path: Path, options: EngineOptions | None = None) -> KinestreamError:
    """The error of opening a file with this engine, which is one line."""
    with pytest.raises(KinestreamError) as caught:
        MediapipeEngine(path, options or EngineOptions())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return caught.value


def test_people_are_mediapipes_in_pixels(engine: Engine, landmarker: Any, people: Picture) -> None:
    (found,) = infer(engine, people)
    theirs = raw(landmarker, people)
    assert len(found) == len(theirs) >= 2
    for person, pose in zip(found, theirs, strict=True):
        assert np.array(person.keypoints) == pytest.approx(pose, abs=1e-6)
        assert person.score == pytest.approx(pose[:, 2].mean())
        visible = pose[pose[:, 2] >= 0.5]
        assert person.box == pytest.approx((*visible[:, :2].min(axis=0), *visible[:, :2].max(axis=0)))
    height, width = people.shape[:2]
    noses = [person.keypoints[BLAZEPOSE33.index("nose")] for person in found]
    assert all(0 < x < width and 0 < y < height / 2 for x, y, _ in noses), "the right way up"


def test_what_it_says_of_itself(engine: Engine) -> None:
    assert engine.name == "pose_landmarker_lite"
    assert engine.skeleton == "blazepose33"
    assert engine.description == (
        "mediapipe pose_landmarker_lite on CPU, one image at a time, up to 6 people"
    )
    assert "mediapipe" in engine_names()
    costs = warm_up(engine, 2)
    assert sorted(costs) == [1, 2] and all(cost > 0 for cost in costs.values())


def test_nothing_carries_over_from_picture_to_picture(engine: Engine, people: Picture) -> None:
    (alone,) = infer(engine, people)
    mirrored = np.ascontiguousarray(people[:, ::-1])
    among = infer(engine, mirrored, grey(640, 480), people, mirrored, people)
    assert among[2] == among[4] == alone
    assert among[0] == among[3] != alone
    assert among[1] == ()
    batch = engine.new_batch(4)
    for slot in (3, 1, 3):  # memory is used again and again
        engine.fill(batch, slot, mirrored if slot == 1 else people)
    assert engine.infer(batch, [3, 1]) == [alone, among[0]]
    assert engine.infer(batch, [1]) == [among[0]]


def test_pictures_are_filled_on_many_threads_while_another_thread_infers(
    engine: Engine, people: Picture
) -> None:
    pictures = [people, grey(640, 480), np.ascontiguousarray(people[:, ::-1]), people[100:500]]
    wanted = infer(engine, *pictures)
    batches = [engine.new_batch(len(pictures)) for _ in range(4)]
    done = threading.Event()
    inferred: list[list[tuple[Person, ...]]] = []

    def keep_inferring() -> None:
        batch = engine.new_batch(1)
        engine.fill(batch, 0, people)
        while not done.is_set():
            inferred.append(engine.infer(batch, [0]))

    with ThreadPoolExecutor(9) as pool:
        running = pool.submit(keep_inferring)
        filled = [
            pool.submit(engine.fill, batch, slot, picture)
            for batch in batches
            for slot, picture in enumerate(pictures)
        ]
        for one in filled:
            one.result()
        done.set()
        running.result()
    assert all(found == wanted[:1] for found in inferred)
    assert [engine.infer(batch, range(len(pictures))) for batch in batches] == [wanted] * len(batches)


def test_pictures_of_any_size_and_memory(engine: Engine, people: Picture) -> None:
    odd = [grey(1, 1), grey(2000, 2), grey(2, 2000), grey(1280, 720), grey(720, 1280), grey(3, 500)]
    assert infer(engine, *odd) == [()] * len(odd), "nobody is nobody"
    (wanted,) = infer(engine, people)
    read_only = people.copy()
    read_only.flags.writeable = False
    for view in (read_only, np.asfortranarray(people), np.dstack([people, people])[:, :, :3]):
        assert infer(engine, view) == [wanted]
    mirrored = infer(engine, people[:, ::-1])  # strides may be negative
    assert mirrored == infer(engine, np.ascontiguousarray(people[:, ::-1]))


def test_the_engine_keeps_a_copy_of_a_picture(engine: Engine, people: Picture) -> None:
    (wanted,) = infer(engine, people)
    batch, picture = engine.new_batch(1), people.copy()
    engine.fill(batch, 0, picture)
    picture[:] = 0
    assert engine.infer(batch, [0]) == [wanted]


def test_a_wide_scene_is_looked_at_in_squares(engine: Engine, landmarker: Any) -> None:
    with av.open(str(media("walker.mp4"))) as container:
        scene: Any = next(container.decode(video=0)).to_ndarray(format="bgr24")
    assert raw(landmarker, scene) == [], "MediaPipe overlooks him: he is a third of the height, in a corner"
    (found,) = infer(engine, scene)
    (person,) = found
    # Where he stands, as seen by eye in the frame of 1768x994 pixels.
    x1, y1, x2, y2 = person.box
    assert 580 < x1 < x2 < 730 and 70 < y1 < 130 and 430 < y2 < 470
    left, right = (person.keypoints[BLAZEPOSE33.index(f"{side}_shoulder")] for side in ("left", "right"))
    assert left[0] > right[0] + 50, "he faces the camera"
    square = next(square for square in squares(1768, 994) if square.owns((x1 + x2) / 2, (y1 + y2) / 2))
    (theirs,) = raw(landmarker, scene[:, square.x : square.x + square.side])
    assert np.array(person.keypoints) == pytest.approx(theirs + np.array([square.x, 0, 0]), abs=1e-6)


def test_nobody_comes_twice_from_overlapping_squares(engine: Engine) -> None:
    """The scene of one man, rolled sideways, so that he stands in every square and between any two."""
    with av.open(str(media("walker.mp4"))) as container:
        scene: Any = next(container.decode(video=0)).to_ndarray(format="bgr24")
    offsets = range(-400, 900, 200)
    found = infer(engine, *[np.roll(scene, offset, axis=1) for offset in offsets])
    assert max(len(people) for people in found) == 1
    middles = [[(person.box[0] + person.box[2]) / 2 for person in people] for people in found]
    right = [m == pytest.approx([650 + x], abs=40) for m, x in zip(middles, offsets, strict=True)]
    assert sum(right) >= len(right) - 1, middles  # once in a while MediaPipe's detector is wrong


def landmarks(**changes: tuple[float, float, float]) -> NDArray[np.float64]:
    """33 landmarks along a diagonal, all visible, with changes by name."""
    rows = [(0.2 + i / 100, 0.1 + i / 50, 0.9) for i in range(33)]
    for name, row in changes.items():
        rows[BLAZEPOSE33.index(name)] = row
    return np.array(rows)


def test_hidden_keypoints_do_not_count_for_the_box() -> None:
    far = module._person(landmarks(left_heel=(3.0, -2.0, 0.49)), (1000, 500), (0, 0))
    assert far.box == pytest.approx((200, 50, 520, 370))
    assert far.keypoints[BLAZEPOSE33.index("left_heel")] == pytest.approx((3000, -1000, 0.49)), "it is told"
    hidden = landmarks() * (1, 1, 0.1)
    assert module._person(hidden, (1000, 500), (10, 20)).box == pytest.approx((210, 70, 530, 390))


def test_scores_lie_between_0_and_1() -> None:
    person = module._person(landmarks(nose=(0, 0, 1.5), left_eye=(1, 1, -0.5)), (640, 480), (0, 0))
    assert person.keypoints[0] == (0, 0, 1)
    assert person.keypoints[BLAZEPOSE33.index("left_eye")] == (640, 480, 0)
    assert person.score == pytest.approx((1 + 0 + 31 * 0.9) / 33)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error(broken: float) -> None:
    class Landmark:
        x, y, visibility = 0.5, broken, 1.0

    with pytest.raises(EngineError, match="33 finite landmarks a person"):
        module._landmarks([Landmark()] * 33)
    with pytest.raises(EngineError, match="got 1"):
        module._landmarks([Landmark()])


@needs_model
@needs_package
def test_the_ending_chooses_it_and_the_option_overrides(tmp_path: Path) -> None:
    other = tmp_path / "Länge 姿.bin"
    other.write_bytes(MODEL.read_bytes())
    with pytest.raises(UsageError, match=r"no engine takes a model that ends in \.bin.*\.task \(mediapipe\)"):
        open_engine(other)
    named = open_engine(other, engine="mediapipe")
    assert named.name == "Länge 姿"
    named.close()
    named.close()  # once more does no harm
    with pytest.raises(ModelError, match="onnxruntime cannot load"):
        open_engine(MODEL, engine="rtmo")


@needs_package
def test_files_that_are_no_pose_landmarker(tmp_path: Path) -> None:
    bundles = {"text": b"no bundle" * 100, "empty": b""}
    if MODEL.exists():
        bundles["cut"] = MODEL.read_bytes()[:100_000]
        with zipfile.ZipFile(MODEL) as whole, zipfile.ZipFile(tmp_path / "half.task", "w") as half:
            half.writestr("pose_detector.tflite", whole.read("pose_detector.tflite"))
    with zipfile.ZipFile(tmp_path / "other.task", "w") as other:
        other.writestr("hand_detector.tflite", b"of another kind")
    with zipfile.ZipFile(tmp_path / "garbled.task", "w") as garbled:
        for part in ("pose_detector.tflite", "pose_landmarks_detector.tflite"):
            garbled.writestr(part, b"garbage" * 1000)
    for name, content in bundles.items():
        (tmp_path / f"{name}.task").write_bytes(content)
    paths = [*tmp_path.glob("*.task"), tmp_path / "missing.task", tmp_path]
    assert len(paths) >= 6
    for path in paths:
        error = refused(path)
        assert isinstance(error, ModelError)
        assert str(error).startswith(f"MediaPipe cannot load {path} as a pose landmarker: ")


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    error = refused(Path("any.task"))
    assert isinstance(error, EngineError) and isinstance(error.__cause__, ImportError)
    assert str(error).endswith("pip install 'kinestream[mediapipe]'")


def test_without_its_libraries_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    vision = pytest.importorskip("mediapipe.tasks.python.vision", reason="the extra mediapipe")

    def load(_: Any) -> None:
        raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(vision.PoseLandmarker, "create_from_options", load)
    error = refused(Path("any.task"))
    assert isinstance(error, EngineError)
    assert "libEGL.so.1" in str(error) and "apt install libegl1 libgles2" in str(error)


@needs_model
@needs_package
def test_devices(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        MediapipeEngine(MODEL, EngineOptions(device="cpu")).close()
        assert not caplog.records
        MediapipeEngine(MODEL, EngineOptions(device="cuda:1")).close()
    assert caplog.messages == ["cuda:1: the engine mediapipe runs on the CPU only; using the CPU"]
    required = refused(MODEL, EngineOptions(device="openvino", require_device=True))
    assert isinstance(required, EngineError) and "openvino did not come up" in str(required)
    assert isinstance(refused(MODEL, EngineOptions(device="abacus")), UsageError)


@needs_model
@needs_package
@pytest.mark.parametrize("options", ["ours", "plain"])
def test_no_report_of_its_use_goes_out(options: str, tmp_path: Path) -> None:
    """In a network of its own, where MediaPipe's host is this machine; `plain` shows that it would report."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, for a certificate")
    server = tmp_path / "server.pem"
    subject = ["-subj", "/CN=play.googleapis.com", "-addext", "subjectAltName=DNS:play.googleapis.com"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", server, "-out", server]
    subprocess.run([*make, "-days", "2", *subject], check=True, capture_output=True, timeout=TIMEOUT_S)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost play.googleapis.com\n")
    inside = ["sh", "-c", f"ip link set lo up && mount --bind {hosts} /etc/hosts"]
    alone = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-n", "-m"]
    try:
        subprocess.run([*alone, *inside], check=True, capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    program = Path(__file__).with_name("mediapipe_report.py")
    command = f'{inside[-1]} && exec "$@"'
    done = subprocess.run(
        [*alone, "sh", "-c", command, "sh", sys.executable, str(program), options, str(MODEL), str(server)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
    )
    assert done.returncode == 0, done.stderr
    came = int(done.stdout.split()[0])
    assert came == 0 if options == "ours" else came > 0


@pytest.mark.timeout(3 * TIMEOUT_S)
@needs_model
@needs_package
def test_real_people_through_the_whole_pipeline(place: Path, tmp_path: Path) -> None:
    """Every fourth of walker.mp4's first 60 frames, in which one man stands, and then a woman comes."""
    film, output = tmp_path / "walkers.mp4", tmp_path / "output"
    with av.open(str(media("walker.mp4"))) as whole, av.open(str(film), "w") as part:
        stream = part.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 1768, 994, "yuv420p"
        stream.codec_context.options = {"preset": "ultrafast", "crf": "16"}
        for _, frame in zip(range(60), whole.decode(video=0), strict=False):
            part.mux(stream.encode(frame))
        part.mux(stream.encode(None))
    done = run(
        "process", film, "-o", output, "--model", MODEL, "--engine", "mediapipe", "--every", str(EVERY)
    )
    assert done.returncode == 0, done.stderr
    records = records_of(output / "poses.jsonl")
    check_whole(records, film, every=EVERY)
    assert len(records) == 60 // EVERY
    assert {(record.skeleton, record.model) for record in records} == {("blazepose33", MODEL.stem)}
    found = [record for record in records if record.people]
    assert len(found) >= 0.8 * len(records)
    for record in found:
        assert all(len(person.keypoints) == 33 for person in record.people)
        middles = [(person.box[0] + person.box[2]) / 2 for person in record.people]
        assert any(580 < middle < 720 for middle in middles), "the man stays where he is"
    assert (output / "annotated.mp4").stat().st_size > 10_000
    assert "mediapipe pose_landmarker_lite on CPU" in done.stderr
