"""`kinestream render`: each frame gets its own poses, by exact time, and no other's without saying so."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from films import frame_times
from kinestream.errors import SourceError, UsageError
from kinestream.messages import Person, PoseResult
from kinestream.video import VideoWriter, probe_video, read_video
from kinestream_consumers.jsonlines import to_line
from kinestream_consumers.render import render
from pipeline import KINESTREAM, TIMEOUT_S, run

WIDTH, HEIGHT = 320, 180
FRAMES = 12
NOWHERE = (-1e6, -1e6, -1e6, -1e6)
"""A box that is not drawn."""

RATES = {"constant": [1 / 30], "variable": [0.04, 0.1, 0.033, 0.5]}


@pytest.fixture(params=RATES)
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Twelve grey frames, at a constant rate and at a variable one."""
    return write_video(tmp_path / "video.mp4", FRAMES, RATES[request.param])


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Twelve grey frames."""
    return write_video(tmp_path / "video.mp4", FRAMES, RATES["constant"])


def write_video(path: Path, frames: int, steps_s: Sequence[float]) -> Path:
    with VideoWriter(path, WIDTH, HEIGHT) as writer:
        time_s = 0.0
        for step_s in itertools.islice(itertools.cycle(steps_s), frames):
            writer.write(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), time_s)
            time_s += step_s
    return path


def times(path: Path) -> list[float]:
    return [frame.media_time_s for frame in read_video(path)]


def pose(number: int) -> tuple[Person, ...]:
    """A keypoint that is the further right the later its frame."""
    return (Person(box=NOWHERE, score=1.0, keypoints=(((number + 0.5) * WIDTH / FRAMES, 60.0, 1.0),)),)


def result(seq: int, time_s: float | None, number: int, **changes: Any) -> PoseResult:
    """The record of frame `number` of the video, which is frame `seq` of its run."""
    values = {"camera": "jump", "run": 1, "seq": seq, "status": "ok", "media_time_s": time_s}
    values |= {"skeleton": "none", "people": pose(number)} | changes
    return PoseResult(**values)


def write_poses(path: Path, results: Iterable[PoseResult]) -> Path:
    path.write_text("".join(map(to_line, results)))
    return path


def of_frames(video: Path, *numbers: int, **changes: Any) -> list[PoseResult]:
    """Records of these frames of the video, offered one after the other."""
    all_times = times(video)
    return [result(seq, all_times[number], number, **changes) for seq, number in enumerate(numbers)]


def drawn(path: Path) -> list[int | None]:
    """Whose pose each frame shows."""
    found: list[int | None] = []
    for frame in read_video(path):
        columns = np.flatnonzero(np.abs(frame.image[58:62].astype(int) - 90).max(axis=(0, 2)) > 40)
        found.append(int(columns.mean() / WIDTH * FRAMES) if len(columns) else None)
    return found


def labelled(path: Path) -> list[int]:
    """How much is written on each frame, to tell labels apart that differ in length."""
    return [
        int((np.abs(frame.image[150:].astype(int) - 90).max(axis=2) > 60).any(axis=0).sum())
        for frame in read_video(path)
    ]


def rendered(video: Path, results: Iterable[PoseResult], **options: Any) -> list[int | None]:
    """Whose pose each frame shows once the records are rendered."""
    poses = write_poses(video.with_name("poses.jsonl"), results)
    render(video, poses, video.with_name("out.mp4"), **options)
    return drawn(video.with_name("out.mp4"))


def test_every_frame_has_its_own_poses(video: Path) -> None:
    assert rendered(video, of_frames(video, *range(FRAMES))) == list(range(FRAMES))
    assert frame_times(video.with_name("out.mp4")) == pytest.approx(frame_times(video), abs=1e-4)


def test_records_in_no_order(film: Path) -> None:
    results = of_frames(film, *range(FRAMES))
    assert rendered(film, results[::-2] + results[::2]) == list(range(FRAMES))


@pytest.mark.parametrize(
    ("every", "shown"),
    [
        (2, [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]),
        (3, [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]),
        (5, [0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 10, 10]),
    ],
)
def test_frames_left_out_on_purpose_show_the_poses_before(video: Path, every: int, shown: list[int]) -> None:
    assert rendered(video, of_frames(video, *range(0, FRAMES, every))) == shown
    own, of_others = labelled(video.with_name("out.mp4"))[:2]
    assert of_others > own + 20, "and say so"


def test_a_frame_without_a_record_shows_nobody(film: Path) -> None:
    results = of_frames(film, *range(FRAMES))
    assert rendered(film, [*results[:4], *results[6:9]]) == [
        0,
        1,
        2,
        3,
        None,
        None,
        6,
        7,
        8,
        None,
        None,
        None,
    ]


def test_a_thinned_file_with_a_hole(film: Path) -> None:
    results = of_frames(film, 0, 2, 4, 6, 8, 10)
    del results[2:4]
    assert rendered(film, results) == [0, 0, 2, None, None, None, None, None, 8, 8, 10, 10]


def test_a_frame_that_was_given_up_on_shows_nobody_and_says_why(film: Path) -> None:
    results = of_frames(film, *range(FRAMES))
    results[3] = result(3, results[3].media_time_s, 3, status="dropped", cause="no-room", people=())
    results[5:8] = [result(5, None, 5, seq_to=7, status="dropped", cause="encoder-failed", people=())]
    assert rendered(film, results) == [0, 1, 2, None, 4, None, None, None, 8, 9, 10, 11]
    labels = labelled(film.with_name("out.mp4"))
    assert labels[3] > labels[2] + 20
    assert min(labels[5:8]) > 0


def test_records_end_before_the_video(film: Path) -> None:
    results = of_frames(film, 0, 2, 4)
    assert rendered(film, results) == [0, 0, 2, 2, 4, 4, *[None] * 6]


def test_nothing_is_drawn_before_the_first_record(film: Path) -> None:
    results = of_frames(film, *range(FRAMES))
    assert rendered(film, results[4:]) == [*[None] * 4, *range(4, FRAMES)]


def test_several_cameras_and_runs(film: Path) -> None:
    mine = of_frames(film, *range(FRAMES), run=7)
    earlier = [result(one.seq, one.media_time_s, 0, run=6) for one in mine]
    others = [result(one.seq, one.media_time_s, 5, camera="other", run=9) for one in mine]
    live = PoseResult(camera="live", run=1, seq=0, status="ok")
    end = PoseResult(camera="jump", run=8, seq=0, status="end")
    with pytest.raises(UsageError, match=r"poses.jsonl holds jump and other: choose one with --camera"):
        rendered(film, [*earlier, *others, *mine, live, end])
    assert rendered(film, [*mine, *others, *earlier, live, end], camera="jump") == list(range(FRAMES))
    assert rendered(film, [*mine, *others], camera="other") == [5] * FRAMES
    with pytest.raises(UsageError, match=r"has no record of live of a frame of a video file"):
        rendered(film, [*mine, live], camera="live")


def test_files_that_do_not_belong_together(film: Path) -> None:
    late = [result(seq, 100 + seq / 30, 0) for seq in range(5)]
    output = film.with_name("out.mp4")
    output.write_text("an earlier one")
    with pytest.raises(UsageError, match=r"no record in .*poses\.jsonl has the time of a frame of"):
        rendered(film, late)
    with pytest.raises(UsageError, match=r"poses\.jsonl has no record of a frame of a video file"):
        rendered(film, [])
    assert output.read_text() == "an earlier one"
    assert not [*film.parent.glob(".*")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "no JSON"),
        ("[]", "a message must be a map"),
        ("{}", "version"),
        ('{"version": 99}', "version 99 is newer"),
        ("[" * 100_000, "no JSON"),
        (
            '{"version": 1, "camera": "a", "run": 1, "seq": 0, "status": "ok", "media_time_s": NaN}',
            "media_time_s",
        ),
        ("\udcff", "no JSON"),
    ],
)
def test_a_broken_line_is_named(film: Path, line: str, said: str) -> None:
    poses = film.with_name("poses.jsonl")
    good = to_line(of_frames(film, 0)[0])
    poses.write_bytes(f"{good}\n{good}".encode() + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(UsageError, match=f"poses.jsonl line 4 is no record: .*{said}"):
        render(film, poses, film.with_name("out.mp4"))


@pytest.mark.parametrize(("turned", "width", "height"), [(0, 90, 120), (90, 120, 90)])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, turned: int, width: int, height: int) -> None:
    """As HDV has them, 4:3; of a film that is shown on its side, the upright ones are 3:4."""
    film = tmp_path / "anamorphic.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 90, 120, "yuv420p"
        stream.sample_aspect_ratio = Fraction(4, 3)
        stream.set_display_rotation(turned)
        for _ in range(2):
            grey = np.full((120, 90, 3), 90, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="bgr24")))
        container.mux(stream.encode(None))
    wanted = Fraction(3, 4) if turned else Fraction(4, 3)
    assert probe_video(film).pixel_aspect == wanted
    own = [result(0, times(film)[0], 0, width=width, height=height)]
    rendered(film, own)
    with av.open(str(film.with_name("out.mp4"))) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (width, height, wanted)


def test_the_video_is_not_overwritten(film: Path) -> None:
    before = film.read_bytes()
    link = film.with_name("link.mp4")
    link.symlink_to(film)
    poses = write_poses(film.with_name("poses.jsonl"), of_frames(film, 0))
    for output in (film, link):
        with pytest.raises(UsageError, match="is the video itself"):
            render(film, poses, output)
    assert film.read_bytes() == before
    with pytest.raises(UsageError, match="is the file of poses"):
        render(film, poses, poses)
    assert poses.read_text().startswith("{")
    for output in (Path(), film.with_name("out.avi"), film.with_name("out")):
        with pytest.raises(UsageError, match="is an MP4, so name it"):
            render(film, poses, output)


def test_a_file_that_cannot_be_written(film: Path) -> None:
    poses = write_poses(film.with_name("poses.jsonl"), of_frames(film, 0))
    for output in (film.with_name("no folder") / "out.mp4", Path("/proc/out.mp4")):
        with pytest.raises(UsageError, match=r"cannot write .*out\.mp4"):
            render(film, poses, output)


def test_a_damaged_video_keeps_the_frames_that_can_be_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", 60, [1 / 30])
    poses = write_poses(tmp_path / "poses.jsonl", of_frames(path, *range(12)))
    cut = tmp_path / "cut.mp4"  # the index is at the front, so what is there can be read
    cut.write_bytes(path.read_bytes()[: -path.stat().st_size // 4])
    readable = 0
    with pytest.raises(SourceError) as told:
        for _ in read_video(cut):
            readable += 1
    assert 12 < readable < 60
    with pytest.raises(SourceError) as caught:
        render(cut, poses, tmp_path / "out.mp4")
    assert str(caught.value) == str(told.value)
    assert len(drawn(tmp_path / "out.mp4")) == readable
    assert drawn(tmp_path / "out.mp4")[:12] == list(range(12))
    ended = run("render", cut, poses, "-o", tmp_path / "out2.mp4")
    assert ended.returncode == 2
    assert ended.stderr == f"kinestream render: {told.value}\n"
    assert len(drawn(tmp_path / "out2.mp4")) == readable


def test_what_is_interrupted_leaves_nothing(film: Path) -> None:
    poses = write_poses(film.with_name("poses.jsonl"), of_frames(film, *range(FRAMES)))
    frames = itertools.count()

    def interrupt() -> None:
        if next(frames) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(film, poses, film.with_name("out.mp4"), progress=interrupt)
    assert {path.name for path in film.parent.iterdir()} == {"video.mp4", "poses.jsonl"}


def test_the_command(film: Path) -> None:
    output = film.with_name("out.mp4")
    poses = write_poses(film.with_name("poses.jsonl"), of_frames(film, *range(0, FRAMES, 2)))
    ended = run("render", film, poses, "-o", output)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == f"{output}: 6 frames with a record\n"
    assert drawn(output)[::2] == [0, 2, 4, 6, 8, 10]
    for words, said in (
        ([film.with_name("no.mp4"), poses], "there is no video file"),
        ([poses, poses], "poses.jsonl cannot be read as a video"),
        ([film, film.with_name("no.jsonl")], "cannot read .*no.jsonl: No such file"),
        ([film, film.parent], "cannot read .*: Is a directory"),
        ([film, film], "video.mp4 line 1 is no record: no JSON"),
    ):
        ended = run("render", *words, "-o", output)
        assert ended.returncode == 2
        assert ended.stderr.startswith("kinestream render: ") and ended.stderr.count("\n") == 1
        assert re.search(said, ended.stderr), ended.stderr


def test_a_terminal_sees_a_bar(film: Path) -> None:
    poses = write_poses(film.with_name("poses.jsonl"), of_frames(film, *range(FRAMES)))
    ours, theirs = pty.openpty()
    words = ["render", str(film), str(poses), "-o", str(film.with_name("out.mp4"))]
    ended = subprocess.run([*KINESTREAM, *words], stderr=theirs, stdout=subprocess.PIPE, timeout=TIMEOUT_S)
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):  # the terminal's end
        while part := os.read(ours, 65536):
            told += part
    os.close(ours)
    assert ended.returncode == 0
    assert b"100%" in told and ended.stdout == b""
