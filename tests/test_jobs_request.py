"""What can be asked of a job, which two are one, and what is refused with one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinestream.errors import UsageError
from kinestream.jobs.client import submit
from kinestream.jobs.request import JobOptions, JobRequest
from kinestream.keys import Keys, check_camera

NOWHERE = "redis://127.0.0.1:1"
"""What is refused is refused before Redis is asked."""


def request(video: str = "a/jump.mp4", **facts: Any) -> JobRequest:
    return JobRequest(**{"kind": "video", "video": video, "options": JobOptions(), "version": "1-2", **facts})


def test_the_same_request_has_the_same_name_and_any_other_another() -> None:
    base = request()
    assert base.job_id() == request().job_id()
    assert base.job_id().startswith("jump-")
    others = [
        request("b/jump.mp4"),
        request(version="1-3"),
        request(options=JobOptions(every=2)),
        request(options=JobOptions(max_side=640)),
        request(options=JobOptions(outputs=("jsonl", "csv"))),
        request(options=JobOptions(min_score=0.5)),
        request(kind="export", of="jump-1"),
    ]
    ids = {base.job_id(), base.job_id(salt="x"), base.job_id(salt="y"), *(o.job_id() for o in others)}
    assert len(ids) == 3 + len(others)


def test_what_is_said_in_another_way_is_the_same() -> None:
    one = JobOptions.from_dict({"outputs": ["csv", "jsonl", "csv"], "min_score": 0})
    other = JobOptions.from_dict({"outputs": ("jsonl", "csv"), "min_score": 0.0, "new": 1})
    assert request(options=one).job_id() == request(options=other).job_id()
    assert JobOptions.from_dict(json.loads(other.as_json())) == other


@pytest.mark.parametrize(
    ("video", "begins"),
    [
        ('Übung "2" [final] (1).mp4', "bung-2-final-1-"),
        ("---.mp4", "video-"),
        ("日本.mp4", "video-"),
        (".mp4", "mp4-"),
        ("x" * 200 + ".mp4", "x" * 40 + "-"),
        ("http://host/films/a%20b.mp4?x=1", "a-b-"),
        ("http://host/", "video-"),
    ],
)
def test_every_video_gives_the_name_of_a_camera(video: str, begins: str) -> None:
    job_id = request(video).job_id()
    assert check_camera(job_id) == job_id
    assert job_id.startswith(begins)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"every": True}, "got True"),
        ({"every": 1.5}, "got 1.5"),
        ({"max_side": 15}, "max_side must be a whole number of at least 16, got 15"),
        ({"outputs": ()}, "outputs are some of jsonl, csv, video, got"),
        ({"outputs": ("pdf",)}, "got ('pdf',)"),
        ({"outputs": "csv"}, "got 'csv'"),
        ({"min_score": 1.1}, "min_score is from 0 to 1, got 1.1"),
        ({"min_score": float("nan")}, "got nan"),
        ({"min_score": True}, "got True"),
        ({"min_score": "0.5"}, "got '0.5'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        JobOptions(**options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("video", "words"),
    [
        ("", "a video is a path or URL"),
        ("a\nb.mp4", "a video is a path or URL"),
        ("x" * 1025, "at most 1024 characters"),
        ("http://me:secret@host/a.mp4", "a URL with a password"),
        ("https://me@host/a.mp4", "a URL with a password"),
        ("https://host/a.mp4?user=me&password=secret", "the password in a URL would be stored"),
        ("https://host/a.mp4?token=secret", "the token in a URL would be stored"),
    ],
)
def test_videos_that_cannot_be(video: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        request(video)
    assert words in str(error.value) and "secret" not in str(error.value)


def test_a_video_behind_a_url_cannot_be_drawn_on() -> None:
    with pytest.raises(UsageError, match="leave out the output video"):
        replace(request("http://host/a.mp4"), options=JobOptions(outputs=("jsonl", "video")))


async def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KINESTREAM_VIDEOS", raising=False)
    for video, words in {
        str(tmp_path / "no.mp4"): "there is no video file",
        str(tmp_path): "there is no video file",
        "x" * 5000: "cannot read x",
        "rtsp://host/stream": "there is no video file rtsp://host/stream",
    }.items():
        with pytest.raises(UsageError) as error:
            await submit(NOWHERE, video)
        assert words in str(error.value) and len(str(error.value)) < 400


async def test_a_file_outside_of_the_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, elsewhere = tmp_path / "videos", tmp_path / "elsewhere.mp4"
    videos.mkdir()
    elsewhere.write_bytes(b"x")
    (videos / "link.mp4").symlink_to(elsewhere)
    monkeypatch.setenv("KINESTREAM_VIDEOS", str(videos))
    for video in (elsewhere, videos / "link.mp4", "../elsewhere.mp4"):
        with pytest.raises(UsageError, match="is not in the folder of videos"):
            await submit(NOWHERE, video)
    with pytest.raises(UsageError, match=f"nor in {videos}"):
        await submit(NOWHERE, "no.mp4")


async def test_a_path_in_the_shared_folder_and_the_whole_one_are_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str, keys: Keys
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"x")
    monkeypatch.setenv("KINESTREAM_VIDEOS", str(tmp_path))
    first = await submit(redis_url, "in/a.mp4", keys=keys)
    again = await submit(redis_url, tmp_path / "in" / "a.mp4", keys=keys)
    assert (first.is_new, again.is_new, again.id) == (True, False, first.id)
    assert (await first.progress()).request.video == "in/a.mp4"
