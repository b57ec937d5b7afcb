"""`kinestream process`: every frame of a file once, in order, at its true time, drawn where it belongs.

Not for: reading and writing video files as such (see `test_video.py`).
"""

from __future__ import annotations

import shlex
import shutil
from collections import Counter
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from films import check_whole, frame_times, write_film
from kinestream.testcard import TestCard, compare
from kinestream.video import read_video
from pipeline import MEDIA, TESTCARD, TIMEOUT_S, records_of, run

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

CARD = TestCard(athletes=2, motion="walk", seed=97)
FRAMES = 32
GAPS_S = (0.04, 0.1, 0.05, 0.2, 0.0625)
"""Between the frames of the file with a variable rate; each long enough for a walker's joints to move on by
more than a drawn marker."""

FIRST_S = 0.5
"""Files may begin later than at 0, and times are told as the file tells them."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test card, filmed at a variable rate: what it shows at a time is `CARD.truth(time - FIRST_S)`."""
    gaps_s = [GAPS_S[number % len(GAPS_S)] for number in range(FRAMES - 1)]
    times_s = [*accumulate(gaps_s, initial=0.0)]
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", CARD, times_s, first_s=FIRST_S)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def test_a_real_video(place: Path, output: Path) -> None:
    path, frames = MEDIA / "multiperson_cam01.mp4", 100
    if not path.exists():
        pytest.skip(f"there is no {path}: real videos are not part of the repository")
    done = run("process", path, "-o", output, *TESTCARD, "--no-video")
    assert done.returncode == 0, done.stderr
    records = records_of(output / "poses.jsonl")
    check_whole(records, path)
    assert len(records) == frames
    assert not any(record.people for record in records), "a test signal's reader finds nobody in real videos"
    assert f"{frames} produced = {frames} ok + 0 dropped" in done.stderr and "(balanced)" in done.stderr
    assert [*output.iterdir()] == [output / "poses.jsonl"]


def test_a_video_of_a_variable_rate(place: Path, output: Path, film: Path) -> None:
    done = run("process", film, "-o", output, *TESTCARD)
    assert done.returncode == 0, done.stderr
    records = records_of(output / "poses.jsonl")
    check_whole(records, film)
    steps = np.diff([record.media_time_s or 0.0 for record in records])
    assert steps == pytest.approx([GAPS_S[number % len(GAPS_S)] for number in range(FRAMES - 1)], abs=1e-4)
    for record in records:
        truth = CARD.truth((record.media_time_s or 0.0) - FIRST_S)
        read = compare(truth, np.array([person.keypoints for person in record.people]))
        assert (read.missed, read.invented) == (0, 0), f"frame {record.seq}"
        assert read.errors_px.max(initial=0.0) <= 1.5, f"frame {record.seq}"
    assert {*output.iterdir()} == {output / "poses.jsonl", output / "annotated.mp4"}
    assert f"committed {FRAMES} frames" in done.stderr, "the worker is asked to end, and has the time to"
    assert frame_times(output / "annotated.mp4") == pytest.approx(frame_times(film), abs=1e-4)
    check_drawn(output / "annotated.mp4", film)


def check_drawn(annotated: Path, film: Path) -> None:
    """Each frame shows the skeletons of its own time, not of the frame before or after it."""
    truths = [CARD.truth(time_s - FIRST_S) for time_s in frame_times(film)]
    drawn, joints = Counter[int](), Counter[int]()
    for number, (frame, original) in enumerate(zip(read_video(annotated), read_video(film), strict=True)):
        changed = np.abs(frame.image.astype(int) - original.image).max(axis=2) > 30
        for offset in (-1, 0, 1):
            if 0 <= number + offset < FRAMES:
                truth = truths[number + offset]
                x, y = truth.joints[truth.visible].astype(int).T
                drawn[offset] += int(changed[y, x].sum())
                joints[offset] += len(x)
    assert joints[0] > 500, "or this shows little"
    assert drawn[0] > 0.95 * joints[0], "the skeletons are not where they belong"
    for offset in (-1, 1):
        assert drawn[offset] < 0.5 * joints[offset], (
            f"skeletons are where they belong {offset:+} frames later"
        )


def test_every_second_frame_and_a_name_that_needs_quotes(place: Path, tmp_path: Path, film: Path) -> None:
    name = 'Müllers "großer" Sprung [red], it\'s #1.mp4'
    path = tmp_path / name
    shutil.copy(film, path)
    done = run("process", path, "-o", tmp_path / "aus gabe", *TESTCARD, "--every", "2")
    assert done.returncode == 0, done.stderr
    records = records_of(tmp_path / "aus gabe" / "poses.jsonl")
    check_whole(records, path, every=2)
    assert len(records) == FRAMES // 2
    assert frame_times(tmp_path / "aus gabe" / "annotated.mp4") == pytest.approx(frame_times(path), abs=1e-4)
    typed = [shlex.split(line) for line in done.stderr.splitlines() if line.startswith("$ ")]
    commands = [next(word for word in words if word in {"worker", "ingest", "render"}) for words in typed]
    assert commands == ["worker", "ingest", "render"]
    assert str(path) in typed[1] and str(path) in typed[2], "what is shown can be typed"
